"""Which evaluators run their aggregation again over resampled rows, and how often."""

from __future__ import annotations

from llmops.config.model import Experiment
from llmops.core.limits import MetricSpec, Threshold

RESAMPLES = 1000
"""Bootstrap samples: p-values near 5 % are then good to about 0.7 points."""


def count_resamples(experiment: Experiment, evaluator: str) -> int:
    """Return how many bootstrap samples the gate asks of an evaluator; 0 where none of its limits needs any.

    A limit needs them when it asks for confidence by `method: approximate` about a number that only the evaluator can
    form; one that is declared nowhere may be such a number.
    """
    gate = experiment.gate
    asked = any(
        threshold.method == "approximate"
        and gate.confidence_of(threshold) is not None
        and _is_opaque_in(experiment, evaluator, threshold)
        for threshold in gate.thresholds
    )
    return RESAMPLES if asked else 0


def _is_opaque_in(experiment: Experiment, evaluator: str, threshold: Threshold) -> bool:
    named, _, rest = threshold.metric.partition(".")
    if rest and named in experiment.evaluators:
        return named == evaluator and _is_opaque(experiment.evaluators[named].metrics.get(rest))
    own = experiment.evaluators[evaluator].metrics.get(threshold.metric)
    is_declared = any(threshold.metric in one.metrics for one in experiment.evaluators.values())
    return _is_opaque(own) if own is not None or not is_declared else False


def _is_opaque(spec: MetricSpec | None) -> bool:
    return spec is None or spec.score is None or spec.kind == "opaque"
