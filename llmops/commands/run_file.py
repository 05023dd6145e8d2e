"""Prompt flow's run files: `llmops run --file run.yml` and `llmops evaluate --file run_evaluation.yml --run ID`.

The keys are those of the Run schema, https://azuremlschemas.azureedge.net/promptflow/latest/Run.schema.json.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from llmops.backends.protocols import RunAbout, RunRequest
from llmops.backends.registry import has_compute, open_runs
from llmops.commands.context import Context
from llmops.commands.evaluate import describe_evaluation
from llmops.commands.preparation import prepare
from llmops.commands.run import describe_run, describe_started
from llmops.commands.run_names import RunName, find_run, keep_name
from llmops.commands.run_requests import run_request
from llmops.config.data import is_registered
from llmops.config.document import read_document
from llmops.config.layers import Selection, parse_variants
from llmops.config.load import find_root, load_project, pick_environment
from llmops.config.model import Dataset, Environment, Experiment, Project
from llmops.core.documents import to_json
from llmops.errors import ExitCode, LlmopsError, Problem, UsageError, near_match
from llmops.evaluators.evaluation import evaluate_run
from llmops.records import RunRecord

_TEXTS = ("name", "display_name", "description", "flow", "data", "run", "variant")
_MAPPINGS = ("column_mapping", "connections", "tags", "properties", "resources")
_PATHS_OR_MAPPINGS = ("environment_variables", "init")
_NOT_HERE = ("identity", "runtime", "compute", "type", "status", "command", "outputs")
"""Keys that mean nothing to llmops, or that prompt flow itself writes."""
_KNOWN = ("$schema", *_TEXTS, *_MAPPINGS, *_PATHS_OR_MAPPINGS, *_NOT_HERE)


class Keys(NamedTuple):
    """The keys of a run file: all, and those that only say something to Azure Machine Learning."""

    all: tuple[str, ...]
    elsewhere: tuple[str, ...]


KEYS = Keys(_KNOWN, _NOT_HERE)


@dataclass(frozen=True, kw_only=True)
class RunFile:
    """What a run file says; paths are as written, relative to its folder.

    Attributes:
        label: the file, for messages.
        folder: its folder.
        resources: `instance_type` or `compute`, for backends that have any.
        ignored: keys that mean nothing here.
    """

    label: str
    folder: Path
    flow: str
    data: str = ""
    run: str = ""
    variant: str = ""
    name: str = ""
    display_name: str = ""
    description: str = ""
    column_mapping: Mapping[str, Any] = field(default_factory=dict)
    connections: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    environment_variables: Mapping[str, str] = field(default_factory=dict)
    init: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


def read_run_file(path: Path) -> RunFile:
    """Read a run file.

    Raises:
        UsageError: every problem of the file: an unknown key, a value of the wrong type, no flow.
    """
    document = read_document(path, str(path))
    if isinstance(document.value, dict):
        _judge(document.value, document.report)
    elif not document.problems:
        document.report((), "not a run", expected="a mapping with `flow` and `data`")
    problems = document.sorted_problems()
    if problems:
        raise UsageError(*problems)
    values: dict[str, Any] = {key: value for key, value in document.value.items() if value is not None}
    for key in _PATHS_OR_MAPPINGS:
        if isinstance(values.get(key), str):
            values[key] = _read_values(path.parent / values[key], where=f"{path}: {key}")
    values["environment_variables"] = _as_texts(values.get("environment_variables", {}))
    kept = (*_TEXTS, *_MAPPINGS, *_PATHS_OR_MAPPINGS)
    return RunFile(
        label=str(path),
        folder=path.resolve().parent,
        ignored=tuple(key for key in values if key in _NOT_HERE),
        **{key: value for key, value in values.items() if key in kept},
    )


def _judge(values: Mapping[str, Any], report: Any) -> None:
    for key, value in values.items():
        if key not in _KNOWN:
            report((key,), f"unknown key '{key}'", fix=near_match(key, _KNOWN))
        elif value is None:
            continue
        elif key in _TEXTS and not isinstance(value, str):
            report((key,), "not text", found=repr(value))
        elif key in _MAPPINGS and not isinstance(value, dict):
            report((key,), "not a mapping", found=repr(value))
        elif key in _PATHS_OR_MAPPINGS and not isinstance(value, (dict, str)):
            report((key,), "neither a mapping nor a file", found=repr(value))
    _judge_places(values, report)


def _judge_places(values: Mapping[str, Any], report: Any) -> None:
    for node, settings in _mapping(values.get("connections")).items():
        if not isinstance(settings, dict):
            report(("connections", node), "not a mapping", found=repr(settings), expected="setting to value")
    if not values.get("flow"):
        report(("flow",), "missing key 'flow'", expected="the flow's folder, relative to this file")
    for key in ("flow", "data"):
        text = str(values.get(key, ""))
        if ":" in text.split("/", maxsplit=1)[0] and not (key == "data" and is_registered(text)):
            expected = "a path, or azureml:NAME:VERSION" if key == "data" else "a path"
            report((key,), "not a path", found=f"'{text}'", expected=expected)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _read_values(path: Path, *, where: str) -> dict[str, Any]:
    """Read a JSON or YAML mapping, or a file of NAME=value lines."""
    if path.suffix in {".yaml", ".yml", ".json"}:
        document = read_document(path, str(path))
        if document.problems or not isinstance(document.value, dict):
            raise UsageError(*(document.sorted_problems() or [Problem(what="not a mapping", where=where)]))
        return dict(document.value)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError.of("cannot read the file", where=where, found=f"'{path}': {error.strerror}") from error
    pairs = (line.partition("=") for line in lines if line.strip() and not line.lstrip().startswith("#"))
    return {name.strip().removeprefix("export "): value.strip().strip("\"'") for name, _, value in pairs}


def _as_texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Write values as prompt flow sets them: lists and mappings as JSON, the rest as text."""
    return {
        name: json.dumps(value) if isinstance(value, (dict, list)) else str(value) for name, value in values.items()
    }


def run_file(
    *,
    context: Context,
    file: Path,
    environment: str | None,
    run: str | None,
    evaluate: bool,
    json_output: bool,
    detach: bool = False,
) -> int:
    """Run a flow as a run file says; with `run`, over the lines of another run.

    Args:
        context: collaborators.
        file: the run file, relative to the present folder.
        environment: name; `local` when None.
        run: id or name of the run whose lines are used; wins over the file's `run`.
        evaluate: aggregate the outputs of the flow as metrics of that run, and write an evaluation record.
        json_output: write the record instead of a sentence.
        detach: start the run and do not wait for it.
    """
    project = load_project(find_root((context.folder / file).resolve().parent))
    wanted = read_run_file(context.folder / file)
    place = pick_environment(project, environment or "local")
    unused = ("resources",) if wanted.resources and not has_compute(place) else ()
    for key in (*wanted.ignored, *unused):
        context.say(f"{wanted.label}: `{key}` has no meaning for the backend '{place.backend}' and is not used.")
    target_name = run or wanted.run
    if evaluate and not target_name:
        raise UsageError.of("which run is evaluated?", where=wanted.label, fix="Add --run ID, or the key `run`.")
    with open_runs(place, project.state, context.env, context.say) as runs:
        target = find_run(project.state, target_name, runs) if target_name else None
        request = _request(context, project, wanted, place, target)
        if detach:
            (record,) = runs.submit([request])
            _keep(project, wanted, record)
            return _show_started(context, record, json_output=json_output)
        (outcome,) = runs.run([request], context.progress)
        if isinstance(outcome, LlmopsError):
            raise outcome
        context.progress.close()
        _keep(project, wanted, outcome)
        if not evaluate or target is None:
            _show_run(context, outcome, json_output=json_output)
            return ExitCode.PASS
        name = posixpath.basename(outcome.flow.path) or "evaluation"
        evaluation = evaluate_run(project.state, target, {name: outcome}, {}, runs.lines)
    if json_output:
        context.write(json.dumps(to_json(evaluation), indent=2))
        return ExitCode.PASS
    context.write(describe_evaluation(evaluation).rpartition("\n")[0])
    context.write(f"Next: llmops runs show {target.id}")
    return ExitCode.PASS


def _request(
    context: Context, project: Project, wanted: RunFile, place: Environment, target: RunRecord | None
) -> RunRequest:
    if target is not None and target.status:
        fix = f"Wait for it: llmops runs wait {target.id}"
        raise UsageError.of("the run has not ended", where=target.id, found=target.status, fix=fix)
    experiment = _experiment(project, wanted, place, target)
    prepared = prepare(project, Selection(experiment=experiment, environment=place), context.env)
    if target is not None and prepared.dataset.rows != target.dataset.rows:
        raise UsageError.of(
            "the data has not as many rows as the run",
            where=prepared.dataset.path,
            found=f"{prepared.dataset.rows} rows",
            expected=f"{target.dataset.rows}, as {target.id}",
        )
    about = RunAbout(
        display_name=wanted.display_name or wanted.name,
        description=wanted.description,
        tags=_as_texts({**wanted.properties, **wanted.tags}),
        resources=_as_texts(wanted.resources),
    )
    return replace(run_request(prepared, prepared.flow, label=experiment.name), target=target, about=about)


def _keep(project: Project, wanted: RunFile, record: RunRecord) -> None:
    if wanted.name:
        keep_name(project.state, _named(wanted, record))


def _show_started(context: Context, record: RunRecord, *, json_output: bool) -> int:
    context.write(json.dumps(to_json(record), indent=2) if json_output else describe_started(record))
    return ExitCode.PASS


def _show_run(context: Context, record: RunRecord, *, json_output: bool) -> None:
    if json_output:
        context.write(json.dumps(to_json(record), indent=2))
        return
    context.write(describe_run(record).rpartition("\n")[0])
    for name, value in record.metrics.items():
        context.write(f"  {name}: {value}")
    context.write(f"Next: llmops runs show {record.id}")


def _named(wanted: RunFile, record: RunRecord) -> RunName:
    return RunName(
        name=wanted.name,
        run=record.id,
        display_name=wanted.display_name,
        description=wanted.description,
        tags={key: str(value) for key, value in wanted.tags.items()},
        properties={key: str(value) for key, value in wanted.properties.items()},
    )


def _experiment(project: Project, wanted: RunFile, place: Environment, target: RunRecord | None) -> Experiment:
    """Say the same as an experiment; its name is the file's, so that a record shows where it comes from."""
    if not wanted.data and target is None:
        raise UsageError.of("missing key 'data'", where=wanted.label, expected="a .jsonl or .csv file")
    data = _data_of(project, wanted) if wanted.data else target.dataset.path  # type: ignore[union-attr]
    if not is_registered(data) and not (project.root / data).is_file():
        raise UsageError.of("no such data file", where=f"{wanted.label}: data", found=f"'{wanted.data}'")
    return Experiment(
        name=_name(project, wanted),
        flow=_in_project(project, wanted.folder / wanted.flow),
        variants=parse_variants(wanted.variant, where=f"{wanted.label}: variant") if wanted.variant else {},
        nodes={node: _as_texts(settings) for node, settings in wanted.connections.items()},
        datasets={"data": Dataset(path=data)},
        dataset="data",
        column_mapping=wanted.column_mapping,
        environment=place.name,
        environment_variables=wanted.environment_variables,
        init=wanted.init,
    )


def _data_of(project: Project, wanted: RunFile) -> str:
    return wanted.data if is_registered(wanted.data) else _in_project(project, wanted.folder / wanted.data)


def _name(project: Project, wanted: RunFile) -> str:
    relative = _in_project(project, wanted.folder / Path(wanted.label).name)
    digest = hashlib.sha256(relative.encode()).hexdigest()[:6]
    return f"{posixpath.basename(posixpath.dirname(relative)) or 'run'}-file-{digest}"


def _in_project(project: Project, path: Path) -> str:
    return os.path.relpath(path, project.root).replace(os.sep, "/")
