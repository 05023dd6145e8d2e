"""`llmops gate --power`: what an experiment's data set can find, said before anything is paid for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from llmops.commands.context import Context
from llmops.commands.preparation import locate_data
from llmops.config.data import describe
from llmops.config.layers import Options, layer
from llmops.config.load import find_root, load_project, pick_experiments
from llmops.config.model import Experiment
from llmops.core.limits import MetricSpec, Threshold
from llmops.core.power import assumed_spread, describe_spread_power, likely_sample, nearest_mean, rows_for
from llmops.core.rules import Rule, choose_rule
from llmops.errors import ExitCode

DISCORDANCES = (0.1, 0.2, 0.3)
"""Shares of rows that change between two runs, for which regression limits are planned."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one limit can find.

    Attributes:
        metric, limit: which limit.
        rule: what will decide.
        discordance: the assumed share of rows that change; None for an absolute limit.
        fails: the true value (or change) nearest to the limit that fails in 80 % of runs; passes: that passes.
        rows_needed: rows that pass an unchanged flow in 80 % of runs; None for absolute limits and when too many.
        words: the same as a sentence; alone where nothing can be planned.
    """

    metric: str
    limit: str
    rule: str = ""
    discordance: float | None = None
    fails: float | None = None
    passes: float | None = None
    rows_needed: int | None = None
    words: str


def gate_power(*, context: Context, experiment: str, flags: Options, json_output: bool) -> int:
    """Say for each limit of an experiment what the rows of its data set can find, and how many rows would do.

    Nothing runs: how much rows vary is assumed, and the assumption is printed.

    Args:
        context: where to read and write.
        experiment: its name.
        flags: environment, data set and repeats, as for `llmops check`.
        json_output: write JSON instead of text.
    """
    project = load_project(find_root(context.folder))
    pick_experiments(project, [experiment])
    selection = layer(project, experiment, env=context.env, flags=flags)
    chosen = selection.experiment
    data = locate_data(project, selection, context.env)
    rows = describe(data, label=chosen.datasets[chosen.dataset].path).rows
    plans = [plan for threshold in chosen.gate.thresholds for plan in _plans(chosen, threshold, rows)]
    if json_output:
        context.write(json.dumps({"rows": rows, "plans": [asdict(plan) for plan in plans]}, indent=2))
        return ExitCode.PASS
    context.write(f"{chosen.name}: data set '{chosen.dataset}', {rows} rows")
    for plan in plans:
        context.write(f"  {plan.metric} {plan.limit}: {plan.words}")
    if not plans:
        context.write("  no threshold is set")
    return ExitCode.PASS


def _plans(experiment: Experiment, threshold: Threshold, rows: int) -> Iterator[Plan]:
    confidence = experiment.gate.confidence_of(threshold)
    for kind in ("min", "max", "max_regression"):
        limit = getattr(threshold, kind)
        if limit is None:
            continue
        label = f"{kind} {limit:g}"
        spec = _spec(experiment, threshold.metric)
        problem = _why_no_plan(confidence, spec)
        if problem or spec is None or confidence is None:
            yield Plan(metric=threshold.metric, limit=label, words=problem)
            continue
        is_difference = kind == "max_regression"
        at_least = kind == "min" or (is_difference and spec.higher_is_better)
        target = limit * (-1.0 if at_least else 1.0) if is_difference else limit
        for discordance in DISCORDANCES if is_difference else (None,):
            yield _plan(
                experiment, threshold, spec, rows, label, target, discordance, at_least=at_least, alpha=1 - confidence
            )


def _plan(
    experiment: Experiment,
    threshold: Threshold,
    spec: MetricSpec,
    rows: int,
    label: str,
    limit: float,
    discordance: float | None,
    *,
    at_least: bool,
    alpha: float,
) -> Plan:
    gate = experiment.gate
    spread = assumed_spread(
        spec, is_difference=discordance is not None, repeats=experiment.repeat, discordance=discordance or 0.0
    )
    probe = likely_sample(spread, (spread.lowest + spread.highest) / 2, rows, is_low=True)
    rule = choose_rule(probe, threshold.method, has_many_looks=gate.has_many_looks)
    assert isinstance(rule, Rule)
    fails, passes = (
        nearest_mean(rule, spread, rows, limit, at_least=at_least, alpha=alpha, passes=side) for side in (False, True)
    )
    needed = (
        rows_for(rule, spread, 0.0, limit, at_least=at_least, alpha=alpha) if spread.is_difference and limit else None
    )
    words = describe_spread_power(rule, spread, rows, limit, at_least=at_least, alpha=alpha)
    assumed = "" if discordance is None else f"if {100 * discordance:g} % of the rows change: "
    return Plan(
        metric=threshold.metric,
        limit=label,
        rule=rule.name,
        discordance=discordance,
        fails=fails,
        passes=passes,
        rows_needed=needed,
        words=f"{assumed}{words} ({rule.name})",
    )


def _spec(experiment: Experiment, metric: str) -> MetricSpec | None:
    name, _, rest = metric.partition(".")
    if rest and name in experiment.evaluators:
        return experiment.evaluators[name].metrics.get(rest)
    found = [one.metrics[metric] for one in experiment.evaluators.values() if metric in one.metrics]
    return found[0] if len(found) == 1 else None


def _why_no_plan(confidence: float | None, spec: MetricSpec | None) -> str:
    if confidence is None:
        return "a plain comparison: without `confidence` it has no error rates"
    if spec is None or spec.score is None:
        return "not declared with a `score`, so that nothing can be planned"
    if spec.kind in {"percentile", "sum"}:
        return f"of kind {spec.kind}: how far its rows vary is not known before a run"
    if spec.kind == "mean" and spec.score_bounds is None:
        return "a mean without bounds: how far its rows vary is not known before a run"
    return ""
