"""Time the gate with intervals, bounds and power over 100 000 rows and 10 metrics; the budget is 2 s.

`python benchmarks/gate_speed.py [ROWS]`. The scores are in memory, as `llmops check` has them after scoring.
"""

from __future__ import annotations

import random
import sys
import time
from array import array
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from llmops.core.aggregate import metric_of_rows  # noqa: E402
from llmops.core.evidence import Rows, Side, gather  # noqa: E402
from llmops.core.gate import judge, outcome  # noqa: E402
from llmops.core.limits import Gate, MetricSpec, Threshold  # noqa: E402
from llmops.core.metrics import Metric, Scores  # noqa: E402

BUDGET_S = 2.0
METRICS = 10
SPECS = {
    f"m{index}": MetricSpec(score=f"s{index}", kind="proportion")
    if index < METRICS // 2
    else MetricSpec(score=f"s{index}", bounds=(0.0, 1.0))
    for index in range(METRICS)
}


def draw_scores(rows: int, seed: int) -> Scores:
    """Draw five columns of 0 and 1 and five of numbers in between."""
    chooser = random.Random(seed)
    columns = {}
    for index in range(METRICS):
        if index < METRICS // 2:
            values = [float(chooser.random() < 0.85) for _ in range(rows)]
        else:
            values = [chooser.betavariate(6, 2) for _ in range(rows)]
        columns[f"e.s{index}"] = array("d", values)
    return Scores(statuses=["scored"] * rows, columns=columns)


def read_side(scores: Scores) -> Side:
    """Aggregate all metrics with their intervals."""
    metrics = {f"e.{name}": metric_of_rows(name, "e", scores, spec) for name, spec in SPECS.items()}
    return Side(metrics=metrics, scores=scores)


def spec_of(metric: Metric) -> MetricSpec:
    """Return the declared spec."""
    return SPECS[metric.name]


def main() -> int:
    """Time absolute limits on 10 metrics, then the same with a baseline; 1 when the budget is missed."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    new, old = draw_scores(rows, 1), draw_scores(rows, 2)
    is_late = False
    gates = {
        "absolute": Gate(thresholds=[Threshold(metric=name, min=0.7) for name in SPECS], confidence=0.95),
        "regression": Gate(thresholds=[Threshold(metric=name, max_regression=0.02) for name in SPECS], confidence=0.95),
    }
    for name, gate in gates.items():
        started, cpu = time.perf_counter(), time.process_time()
        candidate = read_side(new)
        baseline = read_side(old) if name == "regression" else None
        findings = judge(gate, gather(gate, candidate, baseline, spec_of, Rows()))
        wall, used = time.perf_counter() - started, time.process_time() - cpu
        is_late = is_late or used > BUDGET_S
        print(f"{name}: {rows} rows x {METRICS} metrics: {used:.2f} s of CPU, {wall:.2f} s: {outcome(findings)}")
    return int(is_late)


if __name__ == "__main__":
    raise SystemExit(main())
