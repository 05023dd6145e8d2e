"""A run against a model that allows X calls per second: its time beside the physical limit, and what it settled at."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks._processes import allow_bytecode

ROOT = Path(__file__).resolve().parents[1]
CALLS_PER_ROW = 2
LIMIT = 1.25


class Case(NamedTuple):
    """One run: rows of the data set, calls per second that the model allows, latency of an answer, lines at once."""

    rows: int
    calls_per_second: float
    latency_ms: float
    concurrency: int


CASES = (Case(200, 20, 200, 16), Case(200, 20, 10, 16), Case(200, 40, 200, 64), Case(40, 4, 50, 32))


def main() -> int:
    """Run each case in a fresh project and print a table; 1 when one missed the limit or lost a row."""
    allow_bytecode()
    print(
        f"{'rows':>5} {'calls/s':>8} {'latency':>8} {'at once':>8} {'physical':>9} {'taken':>8} {'ratio':>6}  outcome"
    )
    met = [_show(case, *_run(case)) for case in CASES]
    print(f"limit: {LIMIT:g} times the physical limit, start of the driver and of the workers included; no row fails")
    return 0 if all(met) else 1


def _run(case: Case) -> tuple[float, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        for name in ("flows", "data", "config"):
            shutil.copytree(ROOT / name, project / name)
        data = project / "data/web-classification/full.jsonl"
        lines = data.read_text(encoding="utf-8").splitlines(keepends=True)
        data.write_text("".join(lines[: case.rows]), encoding="utf-8")
        settings = f"\nstand_in: {{latency_ms: {case.latency_ms}, calls_per_second: {case.calls_per_second}}}\n"
        with (project / "config/environments/local.yaml").open("a", encoding="utf-8") as environment:
            environment.write(settings)
        command = [sys.executable, "-m", "llmops", "run", "web-classification", "--json"]
        started = time.perf_counter()
        done = subprocess.run(
            [*command, "--concurrency", str(case.concurrency)], cwd=project, capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - started
    assert done.returncode == 0, done.stderr
    return seconds, json.loads(done.stdout)


def _show(case: Case, seconds: float, record: dict[str, Any]) -> bool:
    physical = case.rows * CALLS_PER_ROW / case.calls_per_second
    calls = record["model_calls"]
    settled = f"{calls['concurrency']} at once, {calls['calls_per_second']} calls per second"
    print(
        f"{case.rows:5} {case.calls_per_second:8g} {case.latency_ms:5g} ms {case.concurrency:8} {physical:7.1f} s "
        f"{seconds:6.1f} s {seconds / physical:6.2f}  {record['completed']} completed, {record['failed']} failed, "
        f"{record['unmeasured']} unmeasured; {calls['retries']} retries; settled at {settled}",
        flush=True,
    )
    return seconds <= LIMIT * physical and record["completed"] == case.rows


if __name__ == "__main__":
    sys.exit(main())
