"""Long runs and wide runs: the driver's own cost per line, memory from 1 000 rows on, 64 lines at once.

Long: rows of one call of 5 ms; the driver's CPU per line, and the memory (PSS) of each process, at several sizes.
Wide: 1 000 rows of two calls of 200 ms with 64 lines at once, beside the later of two limits: that of the latency,
rows x calls x latency / lines at once, and that of the processors, CPU seconds of all processes / processors.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks._processes import Usage, allow_bytecode, watch
from benchmarks.engine import FLOW, make_project
from llmops.engine.standin.process import StandInProcess

DRIVER_MS, DRIVER_MB, WORKER_MB, WIDE_FACTOR = 1.0, 60, 100, 1.5
LONG_CONCURRENCY, LONG_LATENCY_S = 16, 0.005
WIDE_ROWS, WIDE_CONCURRENCY, WIDE_CALLS, WIDE_LATENCY_S = 1000, 64, 2, 0.2
ONE_CALL = FLOW[: FLOW.index("- name: summarize")] + FLOW[FLOW.index("- name: classify") :].replace(
    "${summarize.output}", "${inputs.text}"
)


def run(project: Path, model: StandInProcess, concurrency: int) -> tuple[Usage, dict[str, int]]:
    """Run every row once; returns what it used, and the record."""
    env = {**os.environ, "OPENAI_API_KEY": "any", "OPENAI_BASE_URL": model.base_url}
    command = [sys.executable, "-m", "llmops", "run", "bench", "--json", f"--concurrency={concurrency}"]
    usage = watch(command, cwd=project, env=env)
    record = json.loads(usage.output)
    assert not record["failed"] + record["unmeasured"], record
    return usage, record


def measure_long(folder: Path, sizes: list[int]) -> bool:
    """Print one row for each number of rows; False when a budget is missed at the largest."""
    print(f"{'rows':>7} {'wall s':>7} {'driver ms/line':>15} {'gateway':>8} {'workers':>8} {'driver MB':>10}", end="")
    print(f" {'gateway':>8} {'a worker':>9} {'workers':>8}")
    with StandInProcess(latency_ms=LONG_LATENCY_S * 1000) as model:
        for rows in sizes:
            project = make_project(folder / f"long-{rows}", rows)
            (project / "flows/two-calls/flow.dag.yaml").write_text(ONE_CALL, encoding="utf-8")
            usage, _ = run(project, model, LONG_CONCURRENCY)
            driver, gateway, workers = (1000 * usage.cpu_s(kind) / rows for kind in ("driver", "gateway", "worker"))
            print(
                f"{rows:>7} {usage.wall_s:>7.1f} {driver:>15.2f} {gateway:>8.2f} {workers:>8.2f}"
                f" {usage.peak_mb('driver'):>10.1f} {usage.peak_mb('gateway'):>8.1f} {usage.peak_mb('worker'):>9.1f}"
                f" {usage.count('worker'):>8}",
                flush=True,
            )
    print(f"budgets: driver {DRIVER_MS:g} ms per line and {DRIVER_MB} MB, {WORKER_MB} MB per worker, at any size")
    return driver < DRIVER_MS and usage.peak_mb("driver") <= DRIVER_MB and usage.peak_mb("worker") <= WORKER_MB


def measure_wide(folder: Path) -> bool:
    """Print the wide run beside its limits; False when it takes longer than its factor allows."""
    with StandInProcess(latency_ms=WIDE_LATENCY_S * 1000) as model:
        usage, _ = run(make_project(folder / "wide", WIDE_ROWS), model, WIDE_CONCURRENCY)
    latency_s = WIDE_ROWS * WIDE_CALLS * WIDE_LATENCY_S / WIDE_CONCURRENCY
    cpu_s = usage.cpu_s() / (os.cpu_count() or 1)
    limit_s = max(latency_s, cpu_s)
    print(
        f"{WIDE_ROWS} rows, {WIDE_CONCURRENCY} at once: {usage.wall_s:.1f} s with {usage.count('worker')} workers; "
        f"limits: latency {latency_s:.1f} s, CPU {cpu_s:.1f} s on {os.cpu_count()} processors; "
        f"{usage.wall_s / limit_s:.2f} of the later, budget {WIDE_FACTOR:g}"
    )
    return usage.wall_s <= WIDE_FACTOR * limit_s


def main() -> int:
    """Print both tables; 1 when a budget is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[1000, 10_000], help="sizes of the long run")
    parser.add_argument("--no-wide", action="store_true", help="leave out the run with 64 lines at once")
    arguments = parser.parse_args()
    allow_bytecode()
    with tempfile.TemporaryDirectory() as folder:
        met = not arguments.rows or measure_long(Path(folder), arguments.rows)
        met &= arguments.no_wide or measure_wide(Path(folder))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
