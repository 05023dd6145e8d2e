from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.backends.local.serving.split import Sample, Split


@st.composite
def splits(draw: st.DrawFn) -> dict[str, int]:
    cuts = sorted(draw(st.lists(st.integers(0, 100), max_size=3)))
    return {f"d{number}": high - low for number, (low, high) in enumerate(zip([0, *cuts], [*cuts, 100], strict=True))}


@given(splits())
def test_each_hundred_picks_are_shared_out_exactly(percents: dict[str, int]) -> None:
    split = Split(percents)
    for _ in range(3):
        assert Counter(split.pick() for _ in range(100)) == {name: share for name, share in percents.items() if share}


def test_the_smallest_block_is_shared_out_exactly() -> None:
    split = Split({"a": 90, "b": 10})
    assert all(Counter(split.pick() for _ in range(10)) == {"a": 9, "b": 1} for _ in range(20))


@pytest.mark.parametrize("period", [2, 5, 10])
def test_requests_that_come_in_a_rhythm_meet_every_deployment(period: int) -> None:
    split = Split({"a": 100 - 100 // period, "b": 100 // period})
    beats = [[split.pick() for _ in range(period)] for _ in range(500)]
    for beat in zip(*beats, strict=True):
        assert set(beat) == {"a", "b"}


def test_nothing_is_picked_without_traffic() -> None:
    assert [Split(percents).pick() for percents in ({}, {"a": 0})] == [None, None]


@given(st.integers(0, 100))
def test_a_sample_takes_its_percent_of_a_hundred(percent: int) -> None:
    sample = Sample(percent)
    assert sum(sample.take() for _ in range(100)) == percent
