"""How long the lines of a run took, in two numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from llmops.core.statistics import nearest_rank

PERCENTILES: Mapping[str, float] = {"p50": 0.50, "p95": 0.95}


def summarize_latency(durations_s: Iterable[float]) -> Mapping[str, float]:
    """Give the percentiles of durations in seconds, nearest rank; empty when there is no duration."""
    ordered = sorted(durations_s)
    return {name: round(nearest_rank(ordered, share), 6) for name, share in PERCENTILES.items()} if ordered else {}
