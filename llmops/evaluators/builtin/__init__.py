"""Built-in metrics by name.

Each is a class that a worker process builds with its options and calls once per line with the mapped inputs; it
returns its scores by name. An answer that is wrong scores low; an error means that nobody knows, because the data or
the options cannot be judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from llmops.core.limits import BuiltinName, MetricSpec

_RATIO = (0.0, 1.0)


def _proportion(name: str) -> MetricSpec:
    return MetricSpec(score=name, kind="proportion")


def _ratio(name: str) -> MetricSpec:
    return MetricSpec(score=name, kind="mean", bounds=_RATIO)


def _spent(name: str) -> MetricSpec:
    return MetricSpec(score=name, kind="mean", higher_is_better=False)


@dataclass(frozen=True, kw_only=True)
class Builtin:
    """One built-in metric.

    Attributes:
        entry: `module:Class`.
        inputs: input to whether it is required.
        mapping: column mapping of inputs that is taken unless the configuration says otherwise.
        metrics: score to what kind of number it is.
        logged: names that its aggregation over all lines reports, besides those of `metrics`.
    """

    entry: str
    inputs: Mapping[str, bool]
    metrics: Mapping[str, MetricSpec]
    mapping: Mapping[str, str] = field(default_factory=dict)
    logged: Sequence[str] = ()


def _entry(module: str, cls: str) -> str:
    return f"llmops.evaluators.builtin.{module}:{cls}"


_PAIR = {"prediction": True, "reference": True}

BUILTINS: Mapping[BuiltinName, Builtin] = {
    "exact_match": Builtin(
        entry=_entry("text", "ExactMatch"), inputs=_PAIR, metrics={"exact_match": _proportion("exact_match")}
    ),
    "contains": Builtin(entry=_entry("text", "Contains"), inputs=_PAIR, metrics={"contains": _proportion("contains")}),
    "regex": Builtin(
        entry=_entry("text", "Regex"),
        inputs={"prediction": True, "pattern": False},
        metrics={"regex": _proportion("regex")},
    ),
    "json_schema": Builtin(
        entry=_entry("structure", "JsonSchema"),
        inputs={"prediction": True},
        metrics={"is_json": _proportion("is_json"), "json_schema": _proportion("json_schema")},
    ),
    "numeric_close": Builtin(
        entry=_entry("structure", "NumericClose"), inputs=_PAIR, metrics={"numeric_close": _proportion("numeric_close")}
    ),
    "set_match": Builtin(
        entry=_entry("structure", "SetMatch"),
        inputs=_PAIR,
        metrics={
            "set_match": _proportion("set_match"),
            "precision": _ratio("precision"),
            "recall": _ratio("recall"),
            "f1": _ratio("f1"),
            "jaccard": _ratio("jaccard"),
        },
    ),
    "classification": Builtin(
        entry=_entry("classification", "Classification"),
        inputs=_PAIR,
        metrics={"accuracy": MetricSpec(score="correct", kind="proportion")},
        logged=("precision.macro", "recall.macro", "f1.macro"),
    ),
    "token_f1": Builtin(
        entry=_entry("text", "TokenF1"),
        inputs=_PAIR,
        metrics={name: _ratio(name) for name in ("token_f1", "precision", "recall")},
    ),
    "rouge_l": Builtin(
        entry=_entry("text", "RougeL"),
        inputs=_PAIR,
        metrics={name: _ratio(name) for name in ("rouge_l", "precision", "recall")},
    ),
    "similarity": Builtin(
        entry=_entry("similarity", "Similarity"),
        inputs=_PAIR,
        metrics={"similarity": MetricSpec(score="similarity", kind="mean", bounds=(-1.0, 1.0))},
    ),
    "latency": Builtin(
        entry=_entry("usage", "Usage"),
        inputs={"seconds": False},
        mapping={"seconds": "${run.line.duration_s}"},
        metrics={"seconds": _spent("seconds")},
    ),
    "tokens": Builtin(
        entry=_entry("usage", "Usage"),
        inputs={"prompt": False, "completion": False, "total": False},
        mapping={
            "prompt": "${run.line.prompt_tokens}",
            "completion": "${run.line.completion_tokens}",
            "total": "${run.line.total_tokens}",
        },
        metrics={name: _spent(name) for name in ("prompt", "completion", "total")},
    ),
    "cost": Builtin(
        entry=_entry("usage", "Usage"),
        inputs={"usd": False},
        mapping={"usd": "${run.line.cost_usd}"},
        metrics={"usd": _spent("usd")},
    ),
    "agreement": Builtin(
        entry=_entry("agreement", "Agreement"),
        inputs={**_PAIR, "row": True},
        mapping={"row": "${run.line.row}"},
        metrics={"agreement": MetricSpec(score="agrees", kind="proportion")},
        logged=("kappa", "kappa.low", "kappa.high", "repeats_agree"),
    ),
}
