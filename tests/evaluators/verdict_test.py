from __future__ import annotations

from llmops.evaluators.verdict import TEXT_SHOWN, shorten


def test_long_texts_are_cut_wherever_they_stand_and_short_ones_are_not() -> None:
    long = "x" * (TEXT_SHOWN + 7)
    cut = f"{'x' * TEXT_SHOWN}… (7 more characters)"
    assert shorten({"a": [long, "short", 3], "b": None}) == {"a": [cut, "short", 3], "b": None}
