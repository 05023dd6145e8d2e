"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.reports.numbers import count, format_difference, format_interval, format_number

finite = st.floats(-1e300, 1e300)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.85, "0.85"),
        (2 / 3, "0.6667"),
        (1.0, "1"),
        (-0.0, "0"),
        (123456.0, "123456"),
        (0.00012345, "0.0001234"),
        (1.5e-9, "1.5e-09"),
        (2e20, "2e+20"),
        (-1e-12, "-1e-12"),
        (None, "—"),
        (math.nan, "—"),
        (-math.inf, "—"),
    ],
)
def test_a_number_has_four_significant_digits(value: float | None, text: str) -> None:
    assert format_number(value) == text


def test_a_number_below_a_limit_never_looks_like_the_limit() -> None:
    assert format_number(0.79999999, apart_from=0.8) == "0.79999999"
    assert format_number(0.8, apart_from=0.8) == "0.8"


@given(finite, finite)
def test_two_different_numbers_never_look_equal(one: float, other: float) -> None:
    if one != other:
        assert format_number(one, apart_from=other) != format_number(other, apart_from=one)


@given(finite)
def test_a_written_number_is_near_the_number(value: float) -> None:
    assert float(format_number(value)) == pytest.approx(value, rel=1e-3, abs=0)


def test_a_difference_has_its_sign_and_an_interval_its_ends() -> None:
    assert [format_difference(value) for value in (0.25, -0.25, 0.0, None)] == ["+0.25", "-0.25", "0", "—"]
    assert format_interval((0.1, 0.25)) == "[0.1, 0.25]"
    assert format_interval(None) == ""


def test_a_count_agrees_with_its_noun() -> None:
    assert [count(number, "row") for number in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]
