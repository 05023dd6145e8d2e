"""Run + evaluate + gate against the stand-in, beside the physical limit and promptflow's own batch run.

Each row is a flow of two LLM nodes. The physical limit is rows x calls x latency / concurrency. With `--peer` the same
rows go through promptflow's own batch run and evaluation, in an environment of its own (`.cache`).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks._processes import allow_bytecode
from llmops.engine.standin.process import StandInProcess
from tests.environments import Workshop
from tests.parity.batch import run_promptflow
from tools.setup_venv import ROOT, installers

CALLS = 2
LATENCY_S = 0.2
CONCURRENCY = 16
BUDGETS_S = {20: 3.5, 100: 5.5, 1000: 1.25 * 1000 * CALLS * LATENCY_S / CONCURRENCY}

FLOW = """\
inputs:
  text: {type: string}
outputs:
  category: {type: string, reference: "${classify.output}"}
nodes:
- name: summarize
  type: llm
  source: {type: code, path: summarize.jinja2}
  inputs: {model: gpt-4o-mini, temperature: 0, text: "${inputs.text}"}
  connection: open_ai_connection
  api: chat
- name: classify
  type: llm
  source: {type: code, path: classify.jinja2}
  inputs: {model: gpt-4o-mini, temperature: 0, text: "${summarize.output}"}
  connection: open_ai_connection
  api: chat
"""
SUMMARIZE = "# system:\nSummarise the text in one sentence.\n# user:\n{{text}}\n"
CLASSIFY = "# system:\nAnswer with one of: even, odd.\n# user:\n{{text}}\n"
SCORE = """\
inputs:
  expected: {type: string}
  found: {type: string}
outputs:
  correct: {type: int, reference: "${grade.output}"}
nodes:
- name: grade
  type: python
  source: {type: code, path: grade.py}
  inputs: {expected: "${inputs.expected}", found: "${inputs.found}"}
- name: aggregate
  type: python
  source: {type: code, path: aggregate.py}
  inputs: {grades: "${grade.output}"}
  aggregation: true
"""
GRADE = """\
from promptflow.core import tool


@tool
def grade(expected: str, found: str) -> int:
    return int(expected == found)
"""
AGGREGATE = """\
from promptflow.core import log_metric, tool


@tool
def aggregate(grades: list) -> None:
    log_metric("accuracy", sum(grades) / len(grades))
"""
EXPERIMENT = """\
flow: flows/two-calls
datasets: {rows: {path: rows.jsonl}}
evaluators:
  score:
    flow: flows/score
    column_mapping: {expected: "${data.expected}", found: "${run.outputs.category}"}
    metrics: {accuracy: {score: correct, kind: proportion}}
gate: {thresholds: [{metric: accuracy, min: 0}]}
"""
ENVIRONMENT = "connections:\n  open_ai_connection: {type: open_ai}\n"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One check: wall seconds, CPU seconds of the driver and all its children, model calls."""

    wall_s: float
    cpu_s: float
    calls: int


def make_project(folder: Path, rows: int) -> Path:
    """Write a project of one flow, one evaluator and distinct rows."""
    files = {
        "flows/two-calls/flow.dag.yaml": FLOW,
        "flows/two-calls/summarize.jinja2": SUMMARIZE,
        "flows/two-calls/classify.jinja2": CLASSIFY,
        "flows/score/flow.dag.yaml": SCORE,
        "flows/score/grade.py": GRADE,
        "flows/score/aggregate.py": AGGREGATE,
        "config/experiments/bench.yaml": EXPERIMENT,
        "config/environments/local.yaml": ENVIRONMENT,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    lines = (json.dumps({"text": f"Row {n} is a row of its own.", "expected": "even"}) for n in range(rows))
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def check(project: Path, model: StandInProcess) -> Result:
    """Run `llmops check` once."""
    env = {**os.environ, "OPENAI_API_KEY": "any", "OPENAI_BASE_URL": model.base_url}
    command = [sys.executable, "-m", "llmops", "check", "bench", "--baseline", "none", f"--concurrency={CONCURRENCY}"]
    model.reset_stats()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(command, cwd=project, env=env, check=True, capture_output=True)
    wall_s = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Result(wall_s=wall_s, cpu_s=cpu_s, calls=model.stats().calls)


def peer(project: Path, model: StandInProcess, folder: Path) -> float:
    """Run promptflow's own batch run and evaluation over the same rows; return wall seconds, imports included."""
    installer = next(installers(ROOT, os.environ))
    python = Workshop(root=ROOT, installer=installer, env=dict(os.environ)).cached(
        "promptflow", "requirements/promptflow.txt"
    )
    request = {
        "base_url": model.base_url,
        "flow": str(project / "flows/two-calls"),
        "data": str(project / "rows.jsonl"),
        "column_mapping": {"text": "${data.text}"},
        "evaluation": {
            "flow": str(project / "flows/score"),
            "column_mapping": {"expected": "${data.expected}", "found": "${run.outputs.category}"},
        },
    }
    started = time.perf_counter()
    run_promptflow(python, folder, {**request, "workers": CONCURRENCY})
    return time.perf_counter() - started


def main() -> None:
    """Print one row per number of rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[20, 100, 1000])
    parser.add_argument("--peer", type=int, default=100, help="rows for promptflow's own batch run; 0 leaves it out")
    arguments = parser.parse_args()
    allow_bytecode()
    print(f"{'rows':>6} {'limit s':>8} {'check s':>8} {'budget s':>8} {'again s':>8} {'CPU ms/row':>11} {'calls':>6}")
    with StandInProcess(latency_ms=LATENCY_S * 1000) as model, tempfile.TemporaryDirectory() as folder:
        for rows in arguments.rows:
            project = make_project(Path(folder) / str(rows), rows)
            first, again = check(project, model), check(project, model)
            limit = rows * CALLS * LATENCY_S / CONCURRENCY
            budget = BUDGETS_S.get(rows, float("nan"))
            cpu_ms = 1000 * first.cpu_s / rows
            print(
                f"{rows:>6} {limit:>8.1f} {first.wall_s:>8.1f} {budget:>8.1f} {again.wall_s:>8.2f} {cpu_ms:>11.1f}"
                f" {first.calls:>6}"
            )
        if arguments.peer:
            project = make_project(Path(folder) / "peer", arguments.peer)
            (Path(folder) / "peer-home").mkdir()
            took_s = peer(project, model, Path(folder) / "peer-home")
            limit = arguments.peer * CALLS * LATENCY_S / CONCURRENCY
            print(f"{arguments.peer:>6} {limit:>8.1f} {took_s:>8.1f}  promptflow's own batch run and evaluation")


if __name__ == "__main__":
    main()
