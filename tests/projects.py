"""Small real projects in temporary folders: real git, real workers, the real command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

FLOWS = Path(__file__).with_name("samples")
DEADLINE_S = 120

EXPERIMENT = """\
flow: flows/answer
datasets:
  rows: {path: rows.jsonl}
column_mapping:
  question: ${data.question}
evaluators:
  quality:
    flow: flows/score
    column_mapping: {expected: "${data.expected}", answer: "${run.outputs.answer}"}
    metrics:
      accuracy: {score: correct, kind: proportion}
gate:
  thresholds:
    - {metric: accuracy, min: 0.8, max_regression: 0.1}
"""


class Answer(NamedTuple):
    """What a command returned."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class TinyProject:
    """A project whose flow turns questions around and whose evaluator compares with `expected`."""

    root: Path

    def write(self, path: str, text: str) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        return target

    def replace(self, path: str, old: str, new: str) -> None:
        text = (self.root / path).read_text(encoding="utf-8")
        assert old in text
        self.write(path, text.replace(old, new))

    def rows(self, *questions: str, expected: Mapping[str, str] | None = None) -> None:
        """Write the data set; a question is answered correctly unless `expected` says otherwise."""
        known = expected or {}
        rows = [{"question": text, "expected": known.get(text, text[::-1])} for text in questions]
        self.write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    def commit(self, message: str = "change") -> None:
        for arguments in (["add", "-A"], ["commit", "-qm", message]):
            subprocess.run(["git", *arguments], cwd=self.root, check=True, capture_output=True)

    def start(
        self, *arguments: str, env: Mapping[str, str] | None = None, stdin: int | None = None
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "llmops", *arguments],
            cwd=self.root,
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "160", **(env or {})},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> Answer:
        process = self.start(*arguments, env=env)
        out, err = process.communicate(timeout=DEADLINE_S)
        return Answer(process.returncode, out, err)

    def check(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Run `llmops check --json`; return the exit code and the verdict."""
        answer = self.run("check", "--json", *arguments)
        assert answer.out, answer.err
        (result,) = json.loads(answer.out)["experiments"]
        assert result["reports"], result
        return answer.code, json.loads(Path(result["reports"]["json"]).read_text(encoding="utf-8"))


def make_project(root: Path) -> TinyProject:
    """Build a project of two flows and twenty rows, committed."""
    shutil.copytree(FLOWS, root / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    project = TinyProject(root)
    project.write("config/experiments/tiny.yaml", EXPERIMENT)
    project.write("config/environments/local.yaml", "backend: local\n")
    project.write(".gitignore", ".llmops/\n__pycache__/\n")
    project.rows(*(f"question {number}" for number in range(20)))
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=root, check=True)
    project.commit("first")
    return project


def findings(verdict: Mapping[str, Any]) -> dict[str, str]:
    """Return each finding of a verdict: `metric limit` to its outcome."""
    return {f"{found['metric']} {found['limit'].split()[0]}": found["outcome"] for found in verdict["findings"]}


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so; fail when it does not come about."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Tell whether a process is there and has not ended; one that nobody has waited for yet has ended.

    Nor has one whose threads are not all gone: its sockets are open until then.
    """
    process = Path(f"/proc/{pid}")
    try:
        state = (process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        return state != "Z" or len(list((process / "task").iterdir())) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill(process: subprocess.Popen[str], sent: int = signal.SIGKILL) -> None:
    """Send a signal to a process that a test started, and wait for its end."""
    process.send_signal(sent)
    process.communicate(timeout=DEADLINE_S)


def problems(text: str) -> Sequence[str]:
    """Return the lines of an error message."""
    return text.strip().splitlines()


def make_wheel(folder: Path, version: str) -> str:
    """Write a package `greeting` of one module as a wheel; returns the file's name."""
    info = f"greeting-{version}.dist-info"
    name = f"greeting-{version}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as wheel:
        wheel.writestr("greeting.py", f"VERSION = {version!r}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: greeting\nVersion: {version}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return name
