"""`llmops test`: one input through a flow, with its outputs, what it printed and what each node did."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmops.backends.protocols import RunRequest, Trial
from llmops.backends.registry import OpenTrial, open_trials
from llmops.commands.context import Context
from llmops.commands.preparation import prepare_flow
from llmops.config.data import read_rows
from llmops.config.images import with_places
from llmops.config.layers import parse_variants
from llmops.config.load import find_root, load_project, pick_environment
from llmops.config.model import Experiment, Project
from llmops.core.documents import to_json
from llmops.errors import ExitCode, Problem, UsageError, near_match
from llmops.flows.chat import find_chat
from llmops.flows.model import Flow
from llmops.records import DatasetRef
from llmops.reports.table import render_table

LINE_TIMEOUT_S = 600.0
_TEXT_TYPES = {"string", "str", ""}
_CELL = 60


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is to be tested, as the command line says it.

    Attributes:
        flow: name of an experiment, or a flow: folder, file or callable.
        inputs: `name=value` each, or one path of a .jsonl, .json or .csv file whose first row is taken.
        variants, init: as on the command line: `node=variant,…`, `name=value` each.
    """

    flow: str
    environment: str | None = None
    inputs: Sequence[str] = ()
    variants: str | None = None
    init: Sequence[str] = ()
    column_mapping: Mapping[str, Any] = field(default_factory=dict)


def test(*, context: Context, wish: Wish, json_output: bool) -> int:
    """Run one input and show what came of it.

    Returns:
        0, or 10 when the flow failed on the input.

    Raises:
        UsageError: no such flow, or inputs that it does not have or that are missing.
    """
    project = load_project(find_root(context.folder))
    experiment = _experiment(project, wish)
    request = _prepare(context, project, experiment)
    inputs = read_inputs(context.folder, wish.inputs, request.source.flow)
    with _open_trials(context, project, request) as open_trial, tempfile.TemporaryDirectory() as folder:
        answer, log = asyncio.run(_run_once(open_trial, request, Path(folder) / "log", inputs))
    if json_output:
        error = to_json(answer["error"]) if answer.get("error") else None
        body = {**answer, "error": error, "inputs": inputs, "logs": log}
        wanted = ("status", "inputs", "outputs", "error", "nodes", "logs", "duration_s")
        context.write(json.dumps({key: body.get(key) for key in wanted}, indent=2, ensure_ascii=False))
    else:
        _show(context, answer, log)
    return ExitCode.PASS if answer["status"] == "completed" else ExitCode.GATE_FAILED


def chat(*, context: Context, wish: Wish, read: Callable[[str], str | None]) -> int:
    """Ask for inputs until the user ends, and keep the history of a chat flow.

    Args:
        context: collaborators.
        wish: the flow; inputs given there are not asked for.
        read: shows a prompt and returns what the user types; None when there is no more.
    """
    project = load_project(find_root(context.folder))
    request = _prepare(context, project, _experiment(project, wish))
    given = _parse_pairs(wish.inputs, request.source.flow) if wish.inputs else {}
    with _open_trials(context, project, request) as open_trial, tempfile.TemporaryDirectory() as folder:
        asyncio.run(_converse(context, open_trial, request, Path(folder) / "log", given, read))
    return ExitCode.PASS


async def _run_once(
    open_trial: OpenTrial, request: RunRequest, log: Path, inputs: Mapping[str, Any]
) -> tuple[Mapping[str, Any], str]:
    async with open_trial(request, log) as trial:
        answer = await trial.run(inputs)
    return answer, _read_log(log)


async def _converse(
    context: Context,
    open_trial: OpenTrial,
    request: RunRequest,
    log: Path,
    given: Mapping[str, Any],
    read: Callable[[str], str | None],
) -> None:
    flow = request.source.flow
    talk = find_chat(flow)
    asked = [talk.question] if talk else _required(flow, given)
    async with open_trial(request, log) as trial:
        if talk:
            others = [name for name in _required(flow, given) if name not in {talk.question, talk.history}]
            turns = [*(given.get(talk.history) or flow.inputs[talk.history].default or ())]
            given = {**given, **(_ask(others, flow, read) or {}), talk.history: turns}
        while asked and (typed := _ask(asked, flow, read)) is not None:
            if talk and not typed[talk.question]:
                continue
            answer = await trial.run({**given, **typed})
            _show(context, answer, _new_log(trial))
            if talk and answer["status"] == "completed":
                turns += talk.turn(typed[talk.question], answer["outputs"])


def _required(flow: Flow, given: Mapping[str, Any]) -> Sequence[str]:
    """Name the inputs to ask for: those without a default, or the first one where all have one."""
    open_inputs = [name for name in flow.inputs if name not in given]
    return [name for name in open_inputs if flow.inputs[name].required] or open_inputs[:1]


def _ask(names: Sequence[str], flow: Flow, read: Callable[[str], str | None]) -> dict[str, Any] | None:
    """Ask for inputs; None when there is no more."""
    typed: dict[str, Any] = {}
    for name in names:
        text = read(f"{name}: ")
        if text is None:
            return None
        typed[name] = _value(text, flow, name)
    return typed


def _new_log(trial: Trial) -> str:
    """Return what was printed since the last call, and forget it."""
    text = _read_log(trial.log)
    if trial.log.exists():
        with trial.log.open("r+b") as handle:
            handle.truncate(0)
    return text


def _read_log(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _experiment(project: Project, wish: Wish) -> Experiment:
    known = project.experiments.get(wish.flow)
    changes: dict[str, Any] = {}
    if wish.variants:
        changes["variants"] = parse_variants(wish.variants)
    if wish.init:
        changes["init"] = {name: _guess(value) for name, value in _split(wish.init, "--init")}
    environment = wish.environment or (known.environment if known else "local")
    flow = known.flow if known else wish.flow
    base = to_fields(known) if known else {"name": "test", "datasets": {}}
    return Experiment(**{**base, "flow": flow, "environment": environment, **changes})


def to_fields(experiment: Experiment) -> dict[str, Any]:
    """Return the fields of an experiment by name."""
    return dict(vars(experiment))


def _prepare(context: Context, project: Project, experiment: Experiment) -> RunRequest:
    environment = pick_environment(project, experiment.environment)
    source, connections, variables = prepare_flow(project, experiment, environment, context.env)
    return RunRequest(
        label="test",
        experiment=experiment.name,
        source=source,
        dataset=DatasetRef(name="", path="", digest="", rows=0),
        data=project.root,
        column_mapping={},
        environment=environment.name,
        connections=connections,
        environment_variables=variables,
        concurrency=1,
        line_timeout_s=experiment.line_timeout_s,
    )


def _open_trials(
    context: Context, project: Project, request: RunRequest
) -> contextlib.AbstractContextManager[OpenTrial]:
    environment = pick_environment(project, request.environment)
    return open_trials(environment, project.state, context.env, context.say)


def read_inputs(folder: Path, texts: Sequence[str], flow: Flow) -> dict[str, Any]:
    """Read the inputs of one line from `name=value` texts, or the first row of a file.

    Raises:
        UsageError: an input that the flow does not have, one that is missing, or an unreadable file.
    """
    if len(texts) == 1 and "=" not in texts[0]:
        path = folder / texts[0]
        values = with_places(next(iter(read_rows(path))).values, path.parent)
        inputs = {name: value for name, value in values.items() if not flow.inputs or name in flow.inputs}
    else:
        inputs = _parse_pairs(texts, flow)
    missing = [name for name, entry in flow.inputs.items() if entry.required and name not in inputs]
    if missing:
        what = f"missing input{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))}"
        raise UsageError.of(what, where=flow.name, fix="Add --inputs " + " ".join(f"{name}=…" for name in missing))
    return inputs


def _parse_pairs(texts: Sequence[str], flow: Flow) -> dict[str, Any]:
    pairs = _split(texts, "--inputs")
    problems = [
        Problem(what="no such input", where=f"--inputs {name}", expected=", ".join(flow.inputs), fix=hint)
        for name, _ in pairs
        if flow.inputs and name not in flow.inputs and (hint := near_match(name, flow.inputs)) is not None
    ]
    if problems:
        raise UsageError(*problems)
    return {name: _value(text, flow, name) for name, text in pairs}


def _split(texts: Sequence[str], where: str) -> list[tuple[str, str]]:
    bad = [text for text in texts if "=" not in text]
    if bad:
        raise UsageError.of("not name=value", where=where, found=", ".join(map(repr, bad)))
    return [(name.strip(), value) for name, _, value in (text.partition("=") for text in texts)]


def _value(text: str, flow: Flow, name: str) -> Any:
    """Read a value: JSON where the input is no text, else the text itself."""
    kind = flow.inputs[name].type if name in flow.inputs else ""
    if kind in _TEXT_TYPES - {""}:
        return text
    return _guess(text)


def _guess(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _show(context: Context, answer: Mapping[str, Any], log: str) -> None:
    nodes = answer.get("nodes") or []
    if nodes:
        heads = ("node", "status", "seconds", "inputs", "output")
        rows = [
            (
                node["node"],
                node["status"],
                round(node["duration_s"], 3),
                _short(node["inputs"]),
                _short(node["output"] if node["error"] is None else node["error"]),
            )
            for node in nodes
        ]
        context.write(render_table(heads, rows) + "\n")
    if log.strip():
        context.write("printed:\n" + "\n".join(f"  {line}" for line in log.strip().splitlines()) + "\n")
    error = answer.get("error")
    if error:
        place = f" in node {error.node}" if error.node else ""
        context.write(f"{answer['status']}{place}: {error.type}: {error.message}")
        if error.traceback:
            context.write(error.traceback.rstrip())
        return
    context.write(json.dumps(answer["outputs"], indent=2, ensure_ascii=False))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    line = " ".join(text.split())
    return line if len(line) <= _CELL else line[: _CELL - 1] + "…"
