"""Builds verdicts for the report tests: small, in the words of the example."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from llmops.core.distribution import Distribution
from llmops.core.metrics import Finding, Metric, RowStatus
from llmops.records import (
    DatasetRef,
    EvaluationRecord,
    FlowRef,
    PastValue,
    RowComparison,
    RowView,
    RunRecord,
    VerdictRecord,
)
from tests.reports.hostile import HOSTILE

ACCURACY = Metric(
    name="accuracy",
    evaluator="accuracy",
    value=0.9,
    kind="proportion",
    n=20,
    failed=0,
    unmeasured=0,
    interval=(0.699, 0.972),
    interval_method="wilson",
)


def build_evaluation(*metrics: Metric, failed: int = 0, unmeasured: int = 0, **flow: Any) -> EvaluationRecord:
    """Evaluate 20 rows; `flow` are fields of the FlowRef."""
    ref = FlowRef(
        **{"path": "flows/web-classification", "digest": "sha256:" + "3f" * 32, "commit": "1f3c2d1" + "0" * 33, **flow}
    )
    run = RunRecord(
        id="run-1",
        experiment="web-classification",
        flow=ref,
        dataset=DatasetRef(name="smoke", path="data/smoke.jsonl", digest="sha256:" + "ab" * 32, rows=20),
        column_mapping={"url": "${data.url}"},
        environment="local",
        connections={"open_ai_connection": "stand_in 127.0.0.1"},
        repeats=1,
        completed=20 - failed - unmeasured,
        failed=failed,
        unmeasured=unmeasured,
        cached=0,
        started_at="2026-01-05T10:00:00Z",
        ended_at="2026-01-05T10:00:07Z",
        tokens={"prompt": 11_204, "completion": 1_833, "total": 13_037},
        versions={"llmops": "0.1.0", "promptflow-core": "1.18.5", "python": "3.11.7"},
    )
    scored = 20 - failed - unmeasured
    return EvaluationRecord(
        id="evaluation-1",
        run=run,
        evaluators={"accuracy": "sha256:" + "cd" * 32},
        evaluation_runs={"accuracy": "run-2"},
        metrics=metrics or (ACCURACY,),
        rows=20,
        scored=scored,
        failed=failed,
        unmeasured=unmeasured,
    )


def build_side(
    category: str = "App", score: float | None = 1.0, *, status: RowStatus = "scored", error: str = ""
) -> RowView:
    """Build one side of a row of the classification flow."""
    outputs = {"category": category, "evidence": "Text content"} if status == "scored" else None
    scores = {} if score is None or status != "scored" else {"accuracy.grade": score}
    return RowView(status=status, outputs=outputs, scores=scores, error=error, duration_s=0.42)


def build_row(
    row: int,
    candidate: RowView,
    baseline: RowView | None = None,
    *,
    change: Literal["regressed", "improved", "same", "none"] = "none",
    badness: float = 1.0,
    inputs: Mapping[str, Any] | None = None,
) -> RowComparison:
    """Build a row; the inputs default to an address."""
    given = {"url": f"https://apps.example/{row}"} if inputs is None else inputs
    return RowComparison(row=row, inputs=given, candidate=candidate, baseline=baseline, change=change, badness=badness)


def build_finding(**fields: Any) -> Finding:
    """Build a passed `min 0.8` on the accuracy."""
    return Finding(
        **{
            "metric": "accuracy",
            "limit": "min 0.8",
            "outcome": "pass",
            "value": 0.9,
            "interval": (0.699, 0.972),
            **fields,
        }
    )


def build_verdict(**fields: Any) -> VerdictRecord:
    """Build a passed verdict without a baseline; `fields` replace what it has."""
    return VerdictRecord(
        **{
            "id": "verdict-1",
            "experiment": "web-classification",
            "environment": "local",
            "outcome": "pass",
            "exit_code": 0,
            "findings": (build_finding(),),
            "candidate": build_evaluation(),
            "baseline": None,
            "baseline_reason": "the flow does not exist at the merge base",
            "regressed": 0,
            "improved": 0,
            "worst": (),
            "flipped": (),
            "evidence": "sha256:" + "ef" * 32,
            "created_at": "2026-01-05T10:00:08Z",
            **fields,
        }
    )


def failed_verdict(**fields: Any) -> VerdictRecord:
    """Build a verdict in which three rows regressed, one improved, one failed and one was not measured."""
    ours = dataclasses.replace(ACCURACY, value=0.65, interval=(0.433, 0.819), failed=1, unmeasured=1, n=19)
    flipped = (
        build_row(12, build_side("App", 0.0), build_side("Movie"), change="regressed", badness=3.0),
        build_row(3, build_side("None", 0.0), build_side("Profile"), change="regressed", badness=2.5),
        build_row(17, build_side("PDF", 0.0), build_side("Academic"), change="regressed", badness=2.4),
        build_row(5, build_side("Channel"), build_side("App", 0.0), change="improved", badness=0.5),
    )
    worst = (
        build_row(
            8,
            build_side(status="failed", error="ZeroDivisionError: division by zero"),
            build_side(),
            change="regressed",
            badness=4.0,
        ),
        build_row(
            9,
            build_side(status="unmeasured", error="evaluator accuracy: TimeoutError"),
            build_side(),
            change="same",
            badness=2.0,
        ),
        *flipped[:3],
    )
    return build_verdict(
        **{
            "outcome": "fail",
            "exit_code": 10,
            "candidate": build_evaluation(ours, failed=1, unmeasured=1, dirty=True),
            "baseline": build_evaluation(ref="origin/main", commit="9a8b7c6" + "0" * 33, digest="sha256:" + "4e" * 32),
            "baseline_reason": "",
            "findings": FAILED_FINDINGS,
            "regressed": 3,
            "improved": 1,
            "worst": worst,
            "flipped": flipped,
            "distributions": DISTRIBUTIONS,
            "past": PAST,
            "past_environment": "prod",
            "stand_in": True,
            **fields,
        }
    )


DISTRIBUTIONS = (
    Distribution(
        name="accuracy.grade", edges=(0.0, 1.0), is_discrete=True, candidate=(6, 12), baseline=(2, 18), missing=2
    ),
    Distribution(
        name="accuracy.similarity",
        edges=[at / 20 for at in range(21)],
        is_discrete=False,
        candidate=(0, 0, 1, 0, 0, 2, 0, 1, 0, 0, 0, 1, 2, 3, 0, 2, 3, 1, 0, 2),
        baseline=(0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 3, 2, 2, 4, 3, 1, 2),
    ),
)
PAST = tuple(
    PastValue(
        metric="accuracy.accuracy",
        value=0.85 + 0.05 * (day % 3) / 2,
        at=f"2025-12-{day:02}T03:17:00+00:00",
        interval=(0.66 + 0.05 * (day % 3) / 2, 0.95),
    )
    for day in range(5, 31)
)

FAILED_FINDINGS = (
    build_finding(outcome="fail", value=0.65, message="accuracy is 0.65, below the minimum of 0.8."),
    build_finding(
        limit="max_regression 0.03",
        outcome="fail",
        value=0.65,
        baseline=0.9,
        difference=-0.25,
        message="accuracy fell by 0.25 against origin/main; 0.03 is allowed.",
    ),
    build_finding(
        metric="max_failed",
        limit="max_failed 0",
        outcome="fail",
        value=1.0,
        interval=None,
        message="1 of 20 rows failed in the flow; 0 may",
    ),
    build_finding(
        metric="max_unmeasured",
        limit="max_unmeasured 0",
        outcome="inconclusive",
        value=1.0,
        interval=None,
        message="1 of 20 rows could not be measured; 0 may",
    ),
)


def hostile_verdict() -> VerdictRecord:
    """Build a verdict in which every name, message, input, output and error is hostile."""
    text = "\n".join(HOSTILE)
    flipped = tuple(
        build_row(
            number,
            RowView(status="failed", outputs={hostile: [hostile]}, scores={f"accuracy.{hostile}": 0.0}, error=hostile),
            RowView(status="scored", outputs={hostile: hostile}, scores={f"accuracy.{hostile}": 1.0}),
            change="regressed",
            inputs={hostile: hostile},
        )
        for number, hostile in enumerate(HOSTILE)
    )
    metrics = [
        dataclasses.replace(ACCURACY, name=f"{at} {hostile}", note=hostile) for at, hostile in enumerate(HOSTILE)
    ]
    candidate = build_evaluation(*metrics, failed=2, path=text, ref=text, variants={text: text})
    return failed_verdict(
        experiment=text,
        environment=text,
        candidate=dataclasses.replace(candidate, evaluators={"accuracy": text}),
        findings=tuple(
            build_finding(metric=metric.name, limit=hostile, outcome="fail", message=hostile)
            for metric, hostile in zip(metrics, HOSTILE, strict=True)
        ),
        worst=(),
        flipped=flipped,
        notes=HOSTILE,
    )


def weighed_verdict(**fields: Any) -> VerdictRecord:
    """Build a verdict on limits with confidence: a change that is not decided, and an approximate one that failed."""
    weighed = {"confidence": 0.95, "rule": "exact paired test", "is_guaranteed": True}
    undecided = build_finding(
        limit="max_regression 0.05 with 95 % confidence",
        outcome="inconclusive",
        baseline=0.95,
        difference=-0.05,
        interval=(-0.2, 0.04),
        p_pass=0.31,
        p_fail=0.6,
        p_adjusted=1.0,
        bounds=(-0.2031, 0.0502),
        power="20 rows: fails a true change of -0.4, can never pass it in 80 % of runs",
        **weighed,
    )
    failed = build_finding(
        limit="max 0.5 with 95 % confidence",
        outcome="fail",
        p_pass=1.0,
        p_fail=1e-9,
        p_adjusted=2e-9,
        **{**weighed, "rule": "t test", "is_guaranteed": False},
    )
    return build_verdict(outcome="fail", exit_code=10, findings=(undecided, failed, build_finding()), **fields)
