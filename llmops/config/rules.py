"""What a schema cannot say: names that must exist, limits that must make sense.

Every rule takes values that `validate` has cleaned: what is there is of the right type, but anything may be absent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmops.config.connections import find_faults
from llmops.config.data import is_registered
from llmops.config.document import Report, Steps
from llmops.core.aggregate import LARGEST_NUMBER
from llmops.core.mapping import SOURCES, Source, find_malformed
from llmops.errors import Problem, near_match

DATA_FORMATS = (".jsonl", ".csv")

Values = Mapping[str, Any]

_ROW_ALONE: tuple[Source, ...] = ("data",)


def check_experiment(experiment: Values, root: Path, environments: Collection[str], report: Report) -> None:
    """Report what is wrong with one experiment.

    Args:
        root: the folder that paths are relative to.
        environments: the names that exist.
    """
    _check_folder(experiment.get("flow"), root, ("flow",), "flow", report)
    _check_datasets(experiment, root, report)
    environment = experiment.get("environment", "local")
    if environment not in environments:
        fix = near_match(environment, environments) or f"Add config/environments/{environment}.yaml."
        report(("environment",), f"no environment '{environment}'", expected=_any_of(environments), fix=fix)
    for n, name in enumerate(experiment.get("scheduled", {}).get("datasets", ())):
        if name not in experiment.get("datasets", {}):
            place: Steps = ("scheduled", "datasets", n)
            known = experiment.get("datasets", {})
            report(place, f"no data set '{name}'", expected=_any_of(known), fix=near_match(name, known))
    _check_mapping(experiment.get("column_mapping", {}), ("column_mapping",), _ROW_ALONE, report)
    for name, evaluator in experiment.get("evaluators", {}).items():
        path = ("evaluators", name)
        _check_evaluator(evaluator, root, path, report)
        _check_mapping(evaluator.get("column_mapping", {}), (*path, "column_mapping"), SOURCES, report)
        _check_metrics(evaluator.get("metrics", {}), (*path, "metrics"), report)
    _check_thresholds(experiment, report)


def _check_evaluator(evaluator: Values, root: Path, path: Steps, report: Report) -> None:
    flow, builtin = evaluator.get("flow"), evaluator.get("builtin")
    if bool(flow) == bool(builtin):
        found = "both" if flow else "neither"
        report(path, "an evaluator is a flow or a built-in metric", found=found, expected="'flow' or 'builtin'")
    elif flow:
        _check_folder(flow, root, (*path, "flow"), "flow", report)


def check_environment(environment: Values, experiments: Collection[str], root: Path, report: Report) -> None:
    """Report what is wrong with one environment, but for what its overrides make of an experiment.

    Args:
        root: the folder that paths are relative to.
        experiments: the names that exist.
    """
    for name, connection in environment.get("connections", {}).items():
        if "type" not in connection:
            continue
        for path, problem in find_faults(connection):
            _pass_on(problem, ("connections", name, *path), report)
    for name in environment.get("overrides", {}):
        if name not in experiments:
            path = ("overrides", name)
            report(path, f"no experiment '{name}'", expected=_any_of(experiments), fix=near_match(name, experiments))
    for n, name in enumerate(environment.get("requires", {}).get("gates", ())):
        if name not in experiments:
            place: Steps = ("requires", "gates", n)
            report(place, f"no experiment '{name}'", expected=_any_of(experiments), fix=near_match(name, experiments))
    _check_steps(environment.get("rollout", {}).get("steps", ()), report)
    _check_history(environment.get("history", {}), root, report)


def _check_history(history: Values, root: Path, report: Report) -> None:
    if history.get("store") == "blob" and not history.get("url"):
        report(
            ("history", "url"), "a blob without an address", expected="https://ACCOUNT.blob.core.windows.net/CONTAINER"
        )
    folder = history.get("folder")
    if folder and (Path(folder).is_absolute() or not Path(root, folder).resolve().is_relative_to(root.resolve())):
        report(("history", "folder"), "a folder outside of the repository", found=f"'{folder}'")


def _check_steps(steps: Sequence[Values], report: Report) -> None:
    last = 0
    for n, step in enumerate(steps):
        percent = step.get("percent", 100) if isinstance(step, dict) else 100
        if percent <= last:
            expected = f"more than {last}, the step before"
            report(("rollout", "steps", n), "a step that does not rise", found=f"{percent} %", expected=expected)
        last = percent


def _pass_on(problem: Problem, path: Steps, report: Report) -> None:
    report(path, problem.what, found=problem.found, expected=problem.expected, fix=problem.fix)


def _any_of(names: Collection[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none exists"


def _check_folder(text: str | None, root: Path, path: Steps, kind: str, report: Report) -> bool:
    """Report a path that is not inside of the root or leads nowhere; return whether it is fine."""
    if text is None:
        return False
    if kind == "flow" and ":" in text:
        return True  # a Python callable, which is judged when the flow is read
    target = Path(root, text)
    if Path(text).is_absolute() or not target.resolve().is_relative_to(root.resolve()):
        report(
            path, f"a {kind} outside of the repository", found=f"'{text}'", expected="a path relative to the repository"
        )
        return False
    if not target.exists():
        report(path, f"no such {kind}", found=f"'{text}'", expected="a path that exists, relative to the repository")
        return False
    return True


def _check_datasets(experiment: Values, root: Path, report: Report) -> None:
    datasets = experiment.get("datasets")
    if datasets is None:
        return
    for name, dataset in datasets.items():
        path = ("datasets", name, "path")
        text = dataset.get("path")
        if text is not None and is_registered(text):
            continue
        if _check_folder(text, root, path, "data file", report) and Path(text).suffix.lower() not in DATA_FORMATS:
            report(path, "unknown data format", found=f"'{text}'", expected=_any_of(DATA_FORMATS))
    chosen = experiment.get("dataset")
    if chosen and chosen not in datasets:
        report(("dataset",), f"no data set '{chosen}'", expected=_any_of(datasets), fix=near_match(chosen, datasets))


def _check_mapping(mapping: Values, path: Steps, sources: Collection[Source], report: Report) -> None:
    for name, problem in find_malformed(mapping, sources=sources):
        _pass_on(problem, (*path, name), report)


def _check_metrics(metrics: Values, path: Steps, report: Report) -> None:
    for name, metric in metrics.items():
        if metric.get("labels") and not metric.get("score"):
            report((*path, name, "labels"), "labels of which output?", fix="Name the output that says them in `score`.")
        low, high = metric.get("bounds") or (0, 1)
        if low is None or high is None:
            continue
        place, found = (*path, name, "bounds"), f"{low} and {high}"
        if low >= high:
            report(place, "no room between the bounds", found=found, expected="smaller, larger")
        elif max(abs(low), abs(high)) > LARGEST_NUMBER:
            report(place, "bounds of a size that cannot be added up", found=found, expected=f"up to {LARGEST_NUMBER:g}")


def _check_thresholds(experiment: Values, report: Report) -> None:
    evaluators = experiment.get("evaluators", {})
    gate = experiment.get("gate", {})
    thresholds = gate.get("thresholds", ())
    _check_looks(gate, report)
    if thresholds and not evaluators:
        report(
            ("gate", "thresholds"),
            "limits on metrics, but no evaluator that could report them",
            fix="Add an evaluator.",
        )
    first: dict[str, int] = {}
    for n, threshold in enumerate(thresholds):
        path: Steps = ("gate", "thresholds", n)
        if not isinstance(threshold, dict):
            continue
        _check_limits(threshold, path, report)
        metric = threshold.get("metric")
        if metric is None:
            continue
        if first.setdefault(metric, n) != n:
            report(
                (*path, "metric"), f"metric '{metric}' given twice", found=f"first in gate.thresholds[{first[metric]}]"
            )
        if "." in metric and evaluators:
            _check_qualified(metric, evaluators, path, report)
        if threshold.get("confidence", gate.get("confidence")) is not None:
            _check_confidence(threshold, gate, _declared(metric, evaluators), path, report)


def _check_limits(threshold: Values, path: Steps, report: Report) -> None:
    if not {"min", "max", "max_regression"} & threshold.keys():
        report(path, "a threshold without a limit", expected="'min', 'max' or 'max_regression'")
    low, high = threshold.get("min"), threshold.get("max")
    if low is not None and high is not None and low > high:
        report(path, "limits that nothing can meet", found=f"min {low}, max {high}", expected="min at most max")


def _check_qualified(metric: str, evaluators: Collection[str], path: Steps, report: Report) -> None:
    name = metric.partition(".")[0]
    if name not in evaluators:
        expected = f"evaluator.metric with one of {_any_of(evaluators)}"
        fix = near_match(name, evaluators) or "A metric whose name has a dot is written with its evaluator in front."
        report((*path, "metric"), f"no evaluator '{name}'", found=f"'{metric}'", expected=expected, fix=fix)


def _check_looks(gate: Values, report: Report) -> None:
    if gate.get("sequential") and gate.get("add_repeats"):
        report(
            ("gate", "add_repeats"),
            "a sequential gate to which repeats may be added",
            found="sequential: true, add_repeats: true",
            expected="one of the two: their error rates hold for one kind of looks",
        )
    if not gate.get("sequential"):
        return
    fix = "Set gate.confidence, for instance 0.95."
    if not gate.get("thresholds"):
        report(("gate", "sequential"), "a sequential gate without thresholds never knows when to stop")
    for n, threshold in enumerate(gate.get("thresholds", ())):
        if isinstance(threshold, dict) and threshold.get("confidence", gate.get("confidence")) is None:
            report(("gate", "thresholds", n), "a limit without confidence in a sequential gate", fix=fix)


def _declared(metric: str, evaluators: Values) -> Values | None:
    """Return what the configuration declares of a metric; None when it declares nothing."""
    name, _, rest = metric.partition(".")
    if rest and name in evaluators:
        evaluators, metric = {name: evaluators[name]}, rest
    found = [one["metrics"][metric] for one in evaluators.values() if metric in (one.get("metrics") or {})]
    return found[0] if len(found) == 1 and isinstance(found[0], dict) else None


def _check_confidence(threshold: Values, gate: Values, declared: Values | None, path: Steps, report: Report) -> None:
    """Report confidence that cannot be had: numbers without rows, means without bounds, looks without a rule."""
    if declared is None:
        return
    kind = declared.get("kind", "mean")
    is_approximate = threshold.get("method") == "approximate"
    is_opaque = declared.get("score") is None or kind == "opaque"
    if is_opaque and not is_approximate:
        report(
            (*path, "metric"),
            "confidence about a number that only its evaluator can form",
            found=f"'{threshold['metric']}', which declares no score of a row",
            fix="Declare its `score` and `kind`, give the threshold no confidence (then the gate has none either), or "
            "ask for `method: approximate`: a bootstrap that runs its aggregation again over resampled rows.",
        )
    elif is_opaque and threshold.get("slices"):
        report(
            (*path, "slices"),
            "slices of a number that only its evaluator can form",
            found=f"'{threshold['metric']}', which declares no score of a row",
        )
    elif kind in {"mean", "sum"} and not (
        is_opaque or is_approximate or declared.get("bounds") or declared.get("labels")
    ):
        report(
            (*path, "metric"),
            "confidence about a mean of scores without bounds",
            found=f"'{threshold['metric']}', kind {kind}",
            fix="Declare its `bounds`, put the limit on a percentile, or ask for `method: approximate`, which has no "
            "guarantee.",
        )
    elif is_approximate and (gate.get("sequential") or gate.get("add_repeats")):
        report((*path, "method"), "an approximate method holds for one look only", expected="guaranteed")
    elif kind == "percentile" and gate.get("sequential") and "max_regression" in threshold:
        report((*path, "max_regression"), "the change of a percentile cannot be judged while rows are drawn")
