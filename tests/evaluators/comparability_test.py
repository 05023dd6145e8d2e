"""Runs are compared only when they were measured alike."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from llmops.errors import UsageError
from llmops.evaluators.comparability import require_comparable
from llmops.evaluators.evaluation import judge_digest
from llmops.records import EvaluationRecord, FlowRef
from tests.reports.verdicts import build_evaluation

JUDGE = FlowRef(path="flows/judge", digest="sha256:1")
ALIKE = dataclasses.replace(build_evaluation(), judges={"accuracy": judge_digest(JUDGE, {}, {})})


def other_data() -> EvaluationRecord:
    dataset = dataclasses.replace(ALIKE.run.dataset, digest="sha256:" + "00" * 32)
    return dataclasses.replace(ALIKE, run=dataclasses.replace(ALIKE.run, dataset=dataset))


def other_judge(**overlay: Any) -> EvaluationRecord:
    digest = judge_digest(dataclasses.replace(JUDGE, **overlay), {}, {})
    return dataclasses.replace(ALIKE, judges={"accuracy": digest})


def test_runs_that_were_measured_alike_are_comparable() -> None:
    require_comparable(ALIKE, dataclasses.replace(ALIKE, id="another"))


@pytest.mark.parametrize(
    ("baseline", "what"),
    [
        (other_data(), "data set"),
        (dataclasses.replace(ALIKE, evaluators={"accuracy": "sha256:2"}), "evaluator 'accuracy'"),
        (dataclasses.replace(ALIKE, evaluators={}), "evaluator 'accuracy'"),
        (other_judge(variants={"grade": "strict"}), "judge of evaluator 'accuracy'"),
        (other_judge(nodes={"grade": {"model": "gpt-4o"}}), "judge of evaluator 'accuracy'"),
        (other_judge(init={"ignore_case": False}), "judge of evaluator 'accuracy'"),
    ],
)
def test_what_differs_is_said_with_the_offer_to_score_the_baseline_again(baseline: EvaluationRecord, what: str) -> None:
    with pytest.raises(UsageError) as raised:
        require_comparable(ALIKE, baseline)
    (problem,) = raised.value.problems
    assert problem.what == f"the {what} of candidate and baseline differ"
    assert problem.found.startswith("candidate sha256:")
    assert problem.fix == "Score the baseline again: llmops evaluate run-1"


def test_everything_that_differs_is_said_at_once() -> None:
    with pytest.raises(UsageError) as raised:
        require_comparable(ALIKE, dataclasses.replace(other_data(), evaluators={"accuracy": "sha256:2"}))
    assert len(raised.value.problems) == 2
