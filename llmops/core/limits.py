"""What a user declares of metrics and limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llmops.core.declare import setting

OnInconclusive = Literal["block", "warn"]
BuiltinName = Literal[
    "exact_match",
    "contains",
    "regex",
    "json_schema",
    "numeric_close",
    "set_match",
    "classification",
    "token_f1",
    "rouge_l",
    "similarity",
    "latency",
    "tokens",
    "cost",
]
MetricKind = Literal["proportion", "mean", "percentile", "sum", "opaque"]


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """How one metric follows from the rows' scores."""

    score: str | None = setting(
        "Output of the evaluator that scores one row; the metric is then aggregated by llmops, "
        "and rows that failed count as the worst value.",
        default=None,
    )
    kind: MetricKind = setting("What the number is.", default="mean")
    higher_is_better: bool = setting("Whether a larger number is better.", default=True)
    bounds: Sequence[float] | None = setting(
        "Smallest and largest possible score of a row.", default=None, minItems=2, maxItems=2
    )


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Limits on one metric."""

    metric: str = setting("Metric, or evaluator.metric when two evaluators report the same name.")
    min: float | None = setting("Smallest allowed value.", default=None)
    max: float | None = setting("Largest allowed value.", default=None)
    max_regression: float | None = setting(
        "Largest allowed worsening against the baseline, in the metric's unit.", default=None, minimum=0
    )
    on_inconclusive: OnInconclusive = setting("Whether missing evidence blocks.", default="block")


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The declared limits of an experiment."""

    thresholds: Sequence[Threshold] = setting("Limits on metrics.", factory=tuple)
    max_failed: int = setting("Rows that may fail in the flow.", default=0, minimum=0)
    max_unmeasured: int = setting("Rows that nobody could measure.", default=0, minimum=0)
