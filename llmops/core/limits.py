"""What a user declares of metrics and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    "agreement",
]
MetricKind = Literal["proportion", "mean", "percentile", "sum", "opaque"]
Method = Literal["guaranteed", "approximate"]
Target = Literal["population", "this_dataset"]

LARGEST_CONFIDENCE = 0.99999


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """How one metric follows from the rows' scores."""

    score: str | None = setting(
        "Output of the evaluator that scores one row; the metric is then aggregated by llmops, "
        "and rows that failed count as the worst value.",
        default=None,
    )
    kind: MetricKind = setting(
        "What the number is: proportion (0 or 1 per row), mean, percentile, sum, or opaque (the evaluator's own).",
        default="mean",
    )
    higher_is_better: bool = setting("Whether a larger number is better.", default=True)
    bounds: Sequence[float] | None = setting(
        "Smallest and largest possible score of a row.", default=None, minItems=2, maxItems=2
    )
    percentile: float = setting(
        "Of kind percentile: which one, as a percentage of the rows.", default=90.0, exclusiveMinimum=0, maximum=99.99
    )
    labels: Mapping[str, float] = setting(
        "What the output says, to the score that it stands for: for a judge that answers in words. Anything else that "
        "it says leaves the row unmeasured.",
        factory=dict,
    )

    @property
    def score_bounds(self) -> tuple[float, float] | None:
        """Smallest and largest possible score of a row, as declared or as kind and labels have it; None if unknown."""
        if self.bounds is not None:
            return self.bounds[0], self.bounds[1]
        if self.kind == "proportion":
            return 0.0, 1.0
        return (min(self.labels.values()), max(self.labels.values())) if self.labels else None


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Limits on one metric."""

    metric: str = setting("Metric, or evaluator.metric when two evaluators report the same name.")
    min: float | None = setting("Smallest allowed value.", default=None)
    max: float | None = setting("Largest allowed value.", default=None)
    max_regression: float | None = setting(
        "Largest allowed worsening against the baseline, in the metric's unit.", default=None, minimum=0
    )
    confidence: float | None = setting(
        "How sure pass and fail must be, for instance 0.95; the gate's confidence when left out; "
        "with neither, numbers are compared as they are.",
        default=None,
        minimum=0.5,
        maximum=LARGEST_CONFIDENCE,
    )
    method: Method = setting(
        "guaranteed: error rates that hold for any number of rows; approximate: textbook tests, "
        "and a bootstrap of opaque metrics, without guarantee.",
        default="guaranteed",
    )
    slices: Sequence[str] = setting(
        "Columns of the data set: the limits also hold for the rows of each value of each column.", factory=tuple
    )
    critical: bool = setting(
        "Whether the limit belongs to those with a share of the error rate of their own.", default=False
    )
    on_inconclusive: OnInconclusive = setting("Whether missing evidence blocks.", default="block")


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The declared limits of an experiment."""

    thresholds: Sequence[Threshold] = setting("Limits on metrics.", factory=tuple)
    confidence: float | None = setting(
        "Confidence of every threshold that names none of its own.",
        default=None,
        minimum=0.5,
        maximum=LARGEST_CONFIDENCE,
    )
    critical_share: float = setting(
        "Share of the error rate that the critical limits have for themselves when there are others too.",
        default=0.5,
        minimum=0.01,
        maximum=0.99,
    )
    target: Target = setting(
        "population: the rows stand for all that users will ask; this_dataset: the limits are on these rows alone.",
        default="population",
    )
    sequential: bool = setting("Whether to stop asking for rows once the verdict is certain.", default=False)
    add_repeats: bool = setting(
        "Whether `check --add-repeats K` may measure again: every look, the first too, then needs more evidence.",
        default=False,
    )
    seed: int = setting("Decides the order of the rows when the gate is sequential.", default=0)
    max_failed: int = setting("Rows that may fail in the flow.", default=0, minimum=0)
    max_unmeasured: int = setting("Rows that nobody could measure.", default=0, minimum=0)

    def confidence_of(self, threshold: Threshold) -> float | None:
        """Return the confidence that holds for a threshold; None where numbers are compared as they are."""
        return self.confidence if threshold.confidence is None else threshold.confidence

    @property
    def has_many_looks(self) -> bool:
        """Whether the same limits may be judged more than once, so that each look needs an anytime-valid rule."""
        return self.sequential or self.add_repeats
