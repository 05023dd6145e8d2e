"""`llmops runs list | show | compare | logs | export`: look at the runs of a project."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmops.backends.recorded import RecordedRuns
from llmops.commands.context import Context
from llmops.commands.run_names import read_names, resolve_run
from llmops.config.load import STATE, find_root
from llmops.core.documents import to_json
from llmops.errors import ExitCode, UsageError
from llmops.records import EvaluationRecord, Line, RunRecord, line_from_json, read_record, write_stream
from llmops.reports.table import render_table

LINES_SHOWN = 20
_CELL = 60


def list_runs(*, context: Context, json_output: bool) -> int:
    """Show every run, newest first."""
    state = _state(context)
    names = {named.run: named.name for named in read_names(state).values()}
    records = _all(state)
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
            record.ended_at[:19],
        )
        for record in records
    ]
    context.write(render_table(heads, rows) if rows else "No runs yet. `llmops run EXPERIMENT` makes one.")
    return ExitCode.PASS


def show_run(*, context: Context, run: str, json_output: bool) -> int:
    """Show what a run was made of, its metrics and its first lines."""
    state = _state(context)
    record = resolve_run(state, run)
    named = [to_json(name) for name in read_names(state).values() if name.run == record.id]
    evaluations = [to_json(evaluation) for evaluation in _evaluations(state, record)]
    lines = list(_lines(state, record))
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


def compare_runs(*, context: Context, runs: Sequence[str], json_output: bool) -> int:
    """Show two or more runs side by side: metrics, and the rows whose answers differ.

    Raises:
        UsageError: fewer than two runs, or runs over different data.
    """
    state = _state(context)
    records = [resolve_run(state, run) for run in dict.fromkeys(runs)]
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


def show_logs(*, context: Context, run: str) -> int:
    """Write what the flow printed while it ran; lines that came from the cache printed nothing."""
    state = _state(context)
    record = resolve_run(state, run)
    text = RecordedRuns(state).read_log(record.id).text
    context.write(text.rstrip("\n") or "The flow printed nothing.")
    return ExitCode.PASS


def export_run(*, context: Context, run: str, output: Path | None) -> int:
    """Write the lines of a run as JSON Lines or, for a file that ends in .csv, as CSV.

    Args:
        output: the file; standard output when None.
    """
    state = _state(context)
    record = resolve_run(state, run)
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


def _all(state: Path) -> Sequence[RunRecord]:
    records = [read_record(path, RunRecord) for path in (state / "runs").glob("*/run.json")]
    return sorted(records, key=lambda record: (record.ended_at, record.id), reverse=True)


def _lines(state: Path, record: RunRecord) -> Iterator[Line]:
    path = state / "runs" / record.id / "lines.jsonl"
    if not path.exists():
        raise UsageError.of("the run's lines are missing", where=str(path), fix="Run the same command again.")
    with path.open(encoding="utf-8") as handle:
        for text in handle:
            yield line_from_json(text)


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
    if record.target:
        yield "evaluates", record.target
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
