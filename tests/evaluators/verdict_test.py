from __future__ import annotations

import dataclasses

from llmops.evaluators.verdict import TEXT_SHOWN, Measured, shorten
from tests.reports.verdicts import build_evaluation


def test_another_model_or_judge_is_another_family_of_looks() -> None:
    known = Measured.of(build_evaluation())
    assert known == Measured.of(build_evaluation())
    assert known != Measured.of(build_evaluation(nodes={"classify": {"model": "gpt-4o"}}))
    assert known != Measured.of(dataclasses.replace(build_evaluation(), judges={"accuracy": "sha256:2"}))


def test_long_texts_are_cut_wherever_they_stand_and_short_ones_are_not() -> None:
    long = "x" * (TEXT_SHOWN + 7)
    cut = f"{'x' * TEXT_SHOWN}… (7 more characters)"
    assert shorten({"a": [long, "short", 3], "b": None}) == {"a": [cut, "short", 3], "b": None}
