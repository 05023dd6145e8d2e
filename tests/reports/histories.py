"""Made-up histories of scheduled evaluations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from llmops.history.entry import HistoryEntry, LimitPoint, MetricPoint
from llmops.records import DatasetRef

START = datetime(2026, 7, 1, 3, 17, tzinfo=timezone.utc)
DATASET = DatasetRef(name="full", path="data/full.jsonl", digest=f"sha256:{'d' * 64}", rows=200)


def build_entry(day: int = 0, value: float = 0.9, **changes: object) -> HistoryEntry:
    """Build the entry of one night; it passes when accuracy is at least 0.8."""
    outcome = "pass" if value >= 0.8 else "fail"
    entry = HistoryEntry(
        id=f"entry-{day}",
        at=(START + timedelta(days=day)).isoformat(timespec="milliseconds"),
        experiment="web-classification",
        environment="prod",
        subject="endpoint",
        dataset=DATASET,
        outcome=outcome,  # type: ignore[arg-type]
        exit_code=0 if outcome == "pass" else 10,
        flow=f"sha256:{'f' * 64}",
        commit="1f3c2d1" + "0" * 33,
        version="3",
        verdict=f"web-classification-{day}",
        link=f"https://ci.example/runs/{day}",
        rows=200,
        scored=200,
        metrics=[
            MetricPoint(
                evaluator="accuracy", name="accuracy", value=value, n=200, interval=(value - 0.05, value + 0.04)
            ),
            MetricPoint(evaluator="accuracy", name="macro_f1", value=value - 0.03, n=200),
        ],
        limits=[LimitPoint(metric="accuracy", limit="min 0.8", outcome=outcome)],  # type: ignore[arg-type]
        latency_s={"p50": 0.8, "p95": 1.4 + 0.3 * math.sin(day)},
        cost_usd=0.02 + 0.001 * (day % 5),
    )
    return replace(entry, **changes)  # type: ignore[arg-type]


def error_entry(day: int) -> HistoryEntry:
    """Build the entry of a night without a verdict."""
    return build_entry(
        day,
        outcome="error",
        exit_code=4,
        metrics=(),
        limits=(),
        latency_s={},
        cost_usd=None,
        scored=0,
        error="the endpoint answers nobody",
    )


def build_history(days: int = 60) -> Sequence[HistoryEntry]:
    """Build nights of an endpoint that falls below its limit at the end, and of the flow, which does not."""
    wave = [0.88 + 0.03 * math.sin(day / 3) for day in range(days)]
    endpoint = [build_entry(day, value - (0.12 if day > days - 5 else 0.0)) for day, value in enumerate(wave)]
    endpoint = [replace(entry, version="4") if at > days // 2 else entry for at, entry in enumerate(endpoint)]
    endpoint[days // 3] = error_entry(days // 3)
    flow = [
        build_entry(day, value + 0.02, id=f"flow-{day}", subject="flow", version="") for day, value in enumerate(wave)
    ]
    return sorted([*endpoint, *flow], key=lambda entry: entry.at)
