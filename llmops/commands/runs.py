"""`llmops runs list | show | compare | logs | export | wait | cancel`: the runs of a project, or of a workspace."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmops.backends.protocols import RunReader, Runs
from llmops.backends.recorded import RecordedRuns
from llmops.backends.registry import open_runs
from llmops.commands.context import Context
from llmops.commands.run import describe_run
from llmops.commands.run_names import find_run, read_names
from llmops.config.load import STATE, find_root, load_project, pick_environment
from llmops.core.documents import to_json
from llmops.errors import ExitCode, UsageError
from llmops.records import EvaluationRecord, Line, RunRecord, read_record, write_stream
from llmops.reports.table import render_table

LINES_SHOWN = 20
FOLLOW_S = 2.0
"""Seconds between two looks at a log that still grows."""
_CELL = 60


def list_runs(*, context: Context, json_output: bool, environment: str | None = None) -> int:
    """Show every run, newest first.

    Args:
        environment: asks its backend too, which may know more runs than this project; None: what is recorded here.
    """
    state = _state(context)
    names = {named.run: named.name for named in read_names(state).values()}
    with _open_reader(context, environment) as runs:
        records = runs.list_all()
    if json_output:
        context.write(json.dumps([{**to_json(record), "name": names.get(record.id)} for record in records], indent=2))
        return ExitCode.PASS
    heads = ("run", "name", "experiment", "data", "completed", "failed", "unmeasured", "ended")
    rows = [
        (
            record.id,
            names.get(record.id, ""),
            record.experiment,
            record.dataset.name,
            record.completed,
            record.failed,
            record.unmeasured,
            record.status or record.ended_at[:19],
        )
        for record in records
    ]
    context.write(render_table(heads, rows) if rows else "No runs yet. `llmops run EXPERIMENT` makes one.")
    return ExitCode.PASS


def show_run(*, context: Context, run: str, json_output: bool, environment: str | None = None) -> int:
    """Show what a run was made of, its metrics and its first lines."""
    state = _state(context)
    with _open_reader(context, environment) as runs:
        record = find_run(state, run, runs)
    named = [to_json(name) for name in read_names(state).values() if name.run == record.id]
    evaluations = [to_json(evaluation) for evaluation in _evaluations(state, record)]
    lines = [] if record.status else list(_lines(state, record))
    if json_output:
        body = {
            "run": to_json(record),
            "names": named,
            "evaluations": evaluations,
            "lines": [to_json(x) for x in lines],
        }
        context.write(json.dumps(body, indent=2, ensure_ascii=False))
        return ExitCode.PASS
    context.write(render_table(("", ""), list(_facts(record, named))))
    metrics = _metrics(state, record)
    if metrics:
        context.write("\n" + render_table(("metric", "value"), [(name, _short(v)) for name, v in metrics.items()]))
    heads = ("row", "repeat", "status", "inputs", "outputs")
    rows = [(x.row, x.repeat, x.status, _short(x.inputs), _short(x.outputs or _error(x))) for x in lines[:LINES_SHOWN]]
    context.write("\n" + render_table(heads, rows))
    if len(lines) > LINES_SHOWN:
        context.write(f"{len(lines) - LINES_SHOWN} more lines: llmops runs export {record.id}")
    return ExitCode.PASS


def compare_runs(*, context: Context, runs: Sequence[str], json_output: bool, environment: str | None = None) -> int:
    """Show two or more runs side by side: metrics, and the rows whose answers differ.

    Raises:
        UsageError: fewer than two runs, or runs over different data.
    """
    state = _state(context)
    with _open_reader(context, environment) as reader:
        records = [_ended(find_run(state, run, reader)) for run in dict.fromkeys(runs)]
    if len(records) < 2:
        raise UsageError.of("nothing to compare", where="llmops runs compare", expected="two or more runs")
    if len({record.dataset.digest for record in records}) > 1:
        found = ", ".join(f"{record.id}: {record.dataset.path}" for record in records)
        raise UsageError.of("the runs are over different data", where="llmops runs compare", found=found)
    metrics = [_metrics(state, record) for record in records]
    flips = list(_flips(state, records))
    if json_output:
        body = {
            "runs": [to_json(record) for record in records],
            "metrics": dict(zip([record.id for record in records], metrics, strict=True)),
            "flips": flips,
        }
        context.write(json.dumps(body, indent=2, ensure_ascii=False))
        return ExitCode.PASS
    ids = [record.id for record in records]
    counts = [
        (state_name, *(getattr(record, state_name) for record in records))
        for state_name in ("completed", "failed", "unmeasured")
    ]
    listed = dict.fromkeys(name for one in metrics for name in one)
    rows = [*counts, *((name, *(_short(one.get(name, "")) for one in metrics)) for name in listed)]
    context.write(render_table(("", *ids), rows))
    if not flips:
        context.write("\nNo row differs.")
        return ExitCode.PASS
    context.write(f"\n{len(flips)} rows differ:")
    table = [(f["row"], f["change"], *(_short(side["outputs"] or side["error"]) for side in f["sides"])) for f in flips]
    context.write(render_table(("row", "change", *ids), table[:LINES_SHOWN]))
    if len(table) > LINES_SHOWN:
        context.write(f"{len(table) - LINES_SHOWN} more with --json.")
    return ExitCode.PASS


def show_logs(*, context: Context, run: str, environment: str | None = None, follow: bool = False) -> int:
    """Write what the flow printed while it ran; lines that came from the cache printed nothing.

    Args:
        follow: go on until the run has ended.
    """
    state = _state(context)
    with _open_reader(context, environment) as runs:
        record = find_run(state, run, runs)
        log = runs.read_log(record.id)
        shown = 0
        while follow and not log.is_whole:
            shown = _write_from(context, log.text, shown)
            time.sleep(FOLLOW_S)
            log = runs.read_log(record.id)
    _write_from(context, log.text, shown)
    if not log.text.strip():
        context.write("The flow printed nothing.")
    return ExitCode.PASS


def _write_from(context: Context, text: str, start: int) -> int:
    """Write the whole lines of a log from a place on; return the place after them."""
    new = text[start:].rstrip("\n")
    if new.strip():
        context.write(new)
        return start + len(new) + 1
    return start


def wait_for_run(*, context: Context, run: str, json_output: bool, environment: str | None = None) -> int:
    """Bring a run that was started with `--detach` to its end."""
    with _open_backend(context, run, environment) as runs:
        record = runs.wait(_id_of(context, run), context.progress)
    context.progress.close()
    context.write(json.dumps(to_json(record), indent=2) if json_output else describe_run(record))
    return ExitCode.PASS


def cancel_run(*, context: Context, run: str, environment: str | None = None) -> int:
    """Ask a run to end."""
    with _open_backend(context, run, environment) as runs:
        runs.cancel(_id_of(context, run))
    context.write(f"{run} was asked to end.")
    return ExitCode.PASS


def export_run(*, context: Context, run: str, output: Path | None, environment: str | None = None) -> int:
    """Write the lines of a run as JSON Lines or, for a file that ends in .csv, as CSV.

    Args:
        output: the file; standard output when None.
    """
    state = _state(context)
    with _open_reader(context, environment) as runs:
        record = _ended(find_run(state, run, runs))
    lines = _lines(state, record)
    if output is not None and output.suffix.lower() not in {".jsonl", ".csv"}:
        raise UsageError.of("unknown format", where="--output", found=f"'{output}'", expected="a .jsonl or .csv file")
    if output is not None and output.suffix.lower() == ".csv":
        write_stream(context.folder / output, _as_csv(list(lines)))
    elif output is not None:
        write_stream(context.folder / output, (_as_json(line) for line in lines))
    else:
        for line in lines:
            context.write(_as_json(line))
    if output is not None:
        context.say(f"{record.lines} lines written to {output}")
    return ExitCode.PASS


def _state(context: Context) -> Path:
    return find_root(context.folder) / STATE


@contextlib.contextmanager
def _open_reader(context: Context, environment: str | None) -> Iterator[RunReader]:
    """Open the runs of an environment; those that are recorded in the project when none is named."""
    if environment is None:
        yield RecordedRuns(_state(context))
        return
    project = load_project(find_root(context.folder))
    place = pick_environment(project, environment)
    with open_runs(place, project.state, context.env, context.say) as runs:
        yield runs


@contextlib.contextmanager
def _open_backend(context: Context, run: str, environment: str | None) -> Iterator[Runs]:
    """Open the backend that runs a run: the one that is named, or the one of its record."""
    project = load_project(find_root(context.folder))
    name = environment or RecordedRuns(project.state).environment_of(_id_of(context, run))
    place = pick_environment(project, name)
    with open_runs(place, project.state, context.env, context.say) as runs:
        yield runs


def _id_of(context: Context, run: str) -> str:
    named = read_names(_state(context)).get(run)
    return named.run if named else run


def _ended(record: RunRecord) -> RunRecord:
    if record.status:
        fix = f"Wait for it: llmops runs wait {record.id}"
        raise UsageError.of("the run has not ended", where=record.id, found=record.status, fix=fix)
    return record


def _lines(state: Path, record: RunRecord) -> Iterator[Line]:
    return RecordedRuns(state).lines(record)


def _evaluations(state: Path, record: RunRecord) -> list[EvaluationRecord]:
    files = sorted((state / "evaluations").glob(f"{record.id}-*/evaluation.json"))
    found = (read_record(path, EvaluationRecord) for path in files)
    return [evaluation for evaluation in found if evaluation.run.id == record.id]


def _metrics(state: Path, record: RunRecord) -> dict[str, Any]:
    """Return what the run logged itself, and what its newest evaluations say of it."""
    metrics = dict(record.metrics)
    for evaluation in _evaluations(state, record):
        metrics |= {f"{metric.evaluator}.{metric.name}": metric.value for metric in evaluation.metrics}
    return metrics


def _facts(record: RunRecord, named: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    yield "run", record.id
    for name in named:
        yield "name", " ".join(filter(None, (name["name"], name["display_name"], name["description"])))
        if name["tags"]:
            yield "tags", _short(name["tags"])
    yield "experiment", record.experiment
    yield "flow", f"{record.flow.path} {record.flow.digest[:19]}"
    for label in ("variants", "nodes", "init", "python"):
        if value := getattr(record.flow, label):
            yield label, _short(value)
    if record.flow.commit:
        yield "commit", record.flow.commit[:12] + (" with changes" if record.flow.dirty else "")
    yield "data", f"{record.dataset.path} ({record.dataset.rows} rows, {record.repeats} repeats)"
    yield "environment", record.environment + (" (stand-in model, not a real model)" if record.stand_in else "")
    there = " ".join(record.remote) if list(record.remote) != [record.id] else ""
    optional = {"evaluates": record.target, "status": record.status, "page": record.link, "runs there": there}
    yield from ((label, value) for label, value in optional.items() if value)
    yield "lines", f"{record.completed} completed, {record.failed} failed, {record.unmeasured} unmeasured"
    if record.tokens:
        yield "tokens", _short(record.tokens)
    if record.aggregation_error:
        yield "aggregation", f"{record.aggregation_error.type}: {record.aggregation_error.message}"
    yield "ended", record.ended_at


def _flips(state: Path, records: Sequence[RunRecord]) -> Iterator[dict[str, Any]]:
    """Yield the rows whose status or outputs differ between the runs, in order."""
    sides = [{(line.row, line.repeat): line for line in _lines(state, record)} for record in records]
    for key in sorted(set().union(*sides)):
        lines = [side.get(key) for side in sides]
        seen = {json.dumps([line.status, line.outputs], sort_keys=True) if line else "" for line in lines}
        if len(seen) > 1:
            shown = [_side(line) for line in lines]
            inputs = next(line.inputs for line in lines if line)
            yield {"row": key[0], "repeat": key[1], "change": _change(shown), "inputs": inputs, "sides": shown}


def _side(line: Line | None) -> dict[str, Any]:
    if line is None:
        return {"status": "absent", "outputs": None, "error": "no such line"}
    return {"status": line.status, "outputs": line.outputs, "error": _error(line)}


def _change(sides: Sequence[Mapping[str, Any]]) -> str:
    """Say what became of the first run's line in the last run."""
    before, after = sides[0]["status"], sides[-1]["status"]
    return "answers differ" if before == after else f"{before} → {after}"


def _error(line: Line) -> str:
    return f"{line.error.type}: {line.error.message}" if line.error else ""


def _as_json(line: Line) -> str:
    return json.dumps(to_json(line), ensure_ascii=False)


def _as_csv(lines: Sequence[Line]) -> Iterator[str]:
    heads = {
        "inputs": sorted({name for line in lines for name in line.inputs}),
        "outputs": sorted({name for line in lines for name in line.outputs or {}}),
    }
    columns = ["row", "repeat", "status"]
    yield _csv_row([*columns, *(f"{kind}.{name}" for kind, names in heads.items() for name in names), "error"])
    for line in lines:
        values = [(getattr(line, kind) or {}).get(name, "") for kind, names in heads.items() for name in names]
        yield _csv_row([line.row, line.repeat, line.status, *map(_plain, values), _error(line)])


def _csv_row(values: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _short(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else _plain(value)
    line = " ".join(text.split())
    return line if len(line) <= _CELL else line[: _CELL - 1] + "…"
