"""Latency in two numbers."""

from __future__ import annotations

from llmops.core.latency import summarize_latency


def test_percentiles_are_values_that_were_measured() -> None:
    assert summarize_latency([float(number) for number in range(100, 0, -1)]) == {"p50": 50.0, "p95": 95.0}


def test_without_durations_nothing_is_claimed() -> None:
    assert summarize_latency([]) == {}
