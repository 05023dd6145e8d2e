"""A verdict as a table in a terminal or a build log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from llmops.core.metrics import Finding, FindingOutcome
from llmops.records import FlowRef, RowComparison, VerdictRecord
from llmops.reports.evidence_table import HEADS, evidence_rows
from llmops.reports.numbers import MISSING, count, format_difference, format_interval, format_number
from llmops.reports.plain_text import reveal, show_line
from llmops.reports.rows import FieldPair, changed_fields, describe_side, show_side
from llmops.reports.summary import (
    STAND_IN_LABEL,
    MetricSummary,
    count_measured,
    describe_changes,
    describe_commit,
    describe_findings,
    describe_outcome,
    describe_rows,
    findings_to_read,
    limit_number,
    notes_of,
    other_findings,
    say,
    say_outcome,
    summarize_metrics,
)
from llmops.reports.terminal import OUTCOME_COLORS, Cell, Terminal, display_width

FLIPS_SHOWN = 3
UNJUDGED_SHOWN = 6
_NAME_LIMIT = 60

_Form = Literal["wide", "plain", "compact"]
_FORMS: Sequence[_Form] = ("wide", "plain", "compact")
_NUMBER_HEADS = ("candidate", "baseline", "difference", "n")
_MARKS: dict[FindingOutcome, str] = {"pass": "✓", "fail": "✗", "inconclusive": "?", "skipped": "—"}


def render(
    verdict: VerdictRecord, *, width: int, color: bool, encoding: str = "utf-8", paths: Mapping[str, str] | None = None
) -> str:
    """Write a verdict for a terminal.

    Args:
        verdict: what to show.
        width: columns; no line is longer, save for paths, which stay whole so that they can be copied.
        color: whether to use ANSI colours; the outcome is in words and marks too.
        encoding: of the stream; what it cannot carry is written in ASCII.
        paths: label to path of the reports that were written, shown at the end.

    Returns:
        Lines without a trailing newline.
    """
    terminal = Terminal(width=width, color=color, encoding=encoding)
    sections = (
        [_verdict_line(verdict, terminal), *_what_ran(verdict, terminal)],
        _metrics_table(verdict, terminal),
        _evidence(verdict, terminal),
        [terminal.fit(describe_rows(verdict.candidate)), terminal.fit(describe_changes(verdict))],
        _flips(verdict, terminal),
        _reasons(verdict, terminal),
        _paths(paths or {}, terminal),
    )
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def render_several(verdicts: Sequence[VerdictRecord], *, width: int, color: bool, encoding: str = "utf-8") -> str:
    """Write one line per experiment, for a command that checked several; arguments as for `render`."""
    terminal = Terminal(width=width, color=color, encoding=encoding)
    heads = [Cell(text=text) for text in ("experiment", "verdict", "rows", "failed", "regressed", "limits")]
    rows = [heads, *(_experiment_cells(verdict) for verdict in verdicts)]
    lines = terminal.align(rows if terminal.has_room_for(rows) else [row[:2] for row in rows])
    stand_in = [terminal.fit(f"! {STAND_IN_LABEL}")] if any(verdict.stand_in for verdict in verdicts) else []
    return "\n".join([*lines, *stand_in])


def _verdict_line(verdict: VerdictRecord, terminal: Terminal) -> str:
    name = f"{show_line(verdict.experiment, _NAME_LIMIT)} in {show_line(verdict.environment, _NAME_LIMIT)}"
    text = f"{_MARKS[verdict.outcome]} {name}: {describe_outcome(verdict)}. {describe_findings(verdict)}"
    return terminal.paint(terminal.fit(text), f"1;{OUTCOME_COLORS[verdict.outcome]}")


def _what_ran(verdict: VerdictRecord, terminal: Terminal) -> Sequence[str]:
    run = verdict.candidate.run
    lines = [
        f"  flow      {show_line(run.flow.path, 200)}, {_describe_flow(run.flow)}",
        f"  data      {show_line(run.dataset.name, _NAME_LIMIT)}, {count(run.dataset.rows, 'row')}",
    ]
    if verdict.baseline is not None:
        flow = verdict.baseline.run.flow
        lines.append(f"  baseline  {_describe_flow(flow)}")
    notes = [*([STAND_IN_LABEL] if verdict.stand_in else []), *notes_of(verdict)]
    wrapped = [line for note in notes for line in terminal.wrap(f"! {show_line(note, 500)}")]
    return [*map(terminal.fit, lines), *(terminal.paint(line, "33") for line in wrapped)]


def _describe_flow(flow: FlowRef) -> str:
    return f"{show_line(describe_commit(flow), 100)}, {show_line(flow.digest[:19], 19)}"


def _metrics_table(verdict: VerdictRecord, terminal: Terminal) -> Sequence[str]:
    """Write the metrics table in the widest form that fits, and as one block per metric where none does."""
    summaries = summarize_metrics(verdict)
    judged = sum(bool(summary.findings) for summary in summaries)
    shown, left = summaries[: judged + UNJUDGED_SHOWN], summaries[judged + UNJUDGED_SHOWN :]
    others = other_findings(verdict)
    tables = (_table(verdict, shown, others, form) for form in _FORMS)
    fitting = next(filter(terminal.has_room_for, tables), None)
    lines = terminal.align(fitting) if fitting else _blocks(shown, others, terminal)
    more = [terminal.fit(f"… {count(len(left), 'more metric')} without a limit")] if left else []
    return [*lines, *more]


def _table(
    verdict: VerdictRecord, summaries: Sequence[MetricSummary], others: Sequence[Finding], form: _Form
) -> Sequence[Sequence[Cell]]:
    rows: list[Sequence[Cell]] = [_heads(form)]
    for summary in summaries:
        if summary.findings:
            rows.extend(_metric_rows(summary, form))
    for finding in others:
        name = Cell(text=show_line(finding.metric, 32))
        rows.append([name, *_finding_numbers(finding), *_finding_cells(finding, form)])
    for summary in summaries:
        if not summary.findings:
            rows.extend(_metric_rows(summary, form))
    return rows if verdict.baseline else [[cell for at, cell in enumerate(row) if at not in (2, 3)] for row in rows]


def _heads(form: _Form) -> Sequence[Cell]:
    numbers = ("candidate", "baseline", "diff", "n/fail/unm") if form == "compact" else _NUMBER_HEADS
    limits = ("limit",) if form == "compact" else ("limit", "finding")
    right = (Cell(text=head, is_right=True) for head in numbers)
    return [Cell(text="metric"), *right, *(Cell(text=head) for head in limits)]


def _metric_rows(summary: MetricSummary, form: _Form) -> Sequence[Sequence[Cell]]:
    """Write one row per finding of a metric; only the first repeats the numbers."""
    first = summary.findings[0] if summary.findings else None
    blank = [Cell(text="")] * 5
    return [
        [*_metric_cells(summary, first, form), *_finding_cells(first, form)],
        *([*blank, *_finding_cells(finding, form)] for finding in summary.findings[1:]),
    ]


def _metric_cells(summary: MetricSummary, finding: Finding | None, form: _Form) -> Sequence[Cell]:
    metric = summary.metric
    value = format_number(metric.value, apart_from=limit_number(finding))
    interval = format_interval(metric.interval) if form == "wide" else ""
    counts = f"{metric.n}/{metric.failed}/{metric.unmeasured}" if form == "compact" else count_measured(metric)
    return [
        Cell(text=show_line(metric.name, 32)),
        Cell(text=f"{value} {interval}".rstrip(), is_right=True),
        Cell(text=format_number(summary.baseline.value if summary.baseline else None), is_right=True),
        Cell(text=format_difference(summary.difference), is_right=True),
        Cell(text=counts, is_right=True),
    ]


def _finding_numbers(finding: Finding) -> Sequence[Cell]:
    numbers = (format_number(finding.value), format_number(finding.baseline), format_difference(finding.difference), "")
    return [Cell(text=number, is_right=True) for number in numbers]


def _finding_cells(finding: Finding | None, form: _Form) -> Sequence[Cell]:
    if finding is None:
        return [Cell(text="")] * (1 if form == "compact" else 2)
    limit, mark = show_line(finding.limit, 40), _MARKS[finding.outcome]
    if form == "compact":
        return [Cell(text=f"{mark} {limit}", outcome=finding.outcome)]
    return [Cell(text=limit), Cell(text=f"{mark} {say_outcome(finding)}", outcome=finding.outcome)]


def _blocks(summaries: Sequence[MetricSummary], others: Sequence[Finding], terminal: Terminal) -> Sequence[str]:
    """Write the metrics without a table, for a narrow terminal."""
    lines: list[str] = []
    for summary in summaries:
        value = f"{format_number(summary.metric.value)} {format_interval(summary.metric.interval)}".rstrip()
        lines.append(f"{show_line(summary.metric.name, 32)}: {value}, n {count_measured(summary.metric)}")
        if summary.baseline:
            lines.append(f"  baseline {format_number(summary.baseline.value)}, {format_difference(summary.difference)}")
        lines.extend(_finding_block(finding) for finding in summary.findings)
    for finding in others:
        lines += [f"{show_line(finding.metric, 32)}: {format_number(finding.value)}", _finding_block(finding)]
    return [terminal.fit(line) for line in lines]


def _finding_block(finding: Finding) -> str:
    return f"  {_MARKS[finding.outcome]} {say_outcome(finding)}: {show_line(finding.limit, 40)}"


def _evidence(verdict: VerdictRecord, terminal: Terminal) -> Sequence[str]:
    """Write what the rows prove about each limit: bounds, p-values and power, as a table or in blocks."""
    rows = [[reveal(cell) for cell in row] for row in evidence_rows(verdict)]
    if not rows:
        return []
    table = [[Cell(text=cell) for cell in row] for row in (map(str.lower, HEADS), *rows)]
    for left_out in ((), (6,), (5, 6)):
        kept = [[cell for at, cell in enumerate(row) if at not in left_out] for row in table]
        if terminal.has_room_for(kept):
            return terminal.align(kept)
    return [terminal.fit(line) for row in rows for line in _evidence_block(row)]


def _evidence_block(row: Sequence[str]) -> Sequence[str]:
    limit, *facts = row
    return [
        limit,
        *(f"  {head.lower()}: {fact}" for head, fact in zip(HEADS[1:], facts, strict=True) if fact != MISSING),
    ]


def _flips(verdict: VerdictRecord, terminal: Terminal) -> Sequence[str]:
    """Write the worst rows that flipped, and without a baseline the worst that did not measure well."""
    rows = verdict.flipped[:FLIPS_SHOWN]
    title = "Rows that flipped, worst first"
    if not rows:
        rows = [row for row in verdict.worst if row.candidate.status != "scored"][:FLIPS_SHOWN]
        title = "Rows without a score, worst first"
    return [terminal.fit(line) for line in (title, *map(_flip_line, rows))] if rows else []


def _flip_line(row: RowComparison) -> str:
    pairs = changed_fields(row)[:2]
    changes = (f"{show_line(pair.name, 40)} {before} → {after}" for pair in pairs for before, after in [_sides(pair)])
    status = [] if row.candidate.status == "scored" else [show_line(describe_side(row.candidate), 120)]
    inputs = (f"{show_line(name, 40)}={show_line(value, 80)}" for name, value in list(row.inputs.items())[:2])
    change = "" if row.change == "none" else f" {row.change}"
    return f"  row {row.row}{change}: " + "; ".join((*status, *changes, *inputs))


def _sides(pair: FieldPair) -> tuple[str, str]:
    return show_side(pair.baseline, pair.candidate, 40), show_side(pair.candidate, pair.baseline, 40)


def _reasons(verdict: VerdictRecord, terminal: Terminal) -> Sequence[str]:
    sentences = (f"{_MARKS[finding.outcome]} {show_line(say(finding), 500)}" for finding in findings_to_read(verdict))
    return [line for sentence in sentences for line in terminal.wrap(sentence)]


def _paths(paths: Mapping[str, str], terminal: Terminal) -> Sequence[str]:
    if not paths:
        return []
    width = max(map(display_width, paths))
    labels = {label: label + " " * (width - display_width(label)) for label in paths}
    return ["Reports", *(terminal.spell(f"  {labels[label]}  {reveal(path)}") for label, path in paths.items())]


def _experiment_cells(verdict: VerdictRecord) -> Sequence[Cell]:
    run = verdict.candidate
    regressed = str(verdict.regressed) if verdict.baseline else MISSING
    return [
        Cell(text=show_line(verdict.experiment, 40)),
        Cell(text=f"{_MARKS[verdict.outcome]} {describe_outcome(verdict)}", outcome=verdict.outcome),
        Cell(text=str(run.rows), is_right=True),
        Cell(text=str(run.failed), is_right=True),
        Cell(text=regressed, is_right=True),
        Cell(text=describe_findings(verdict).rstrip(".")),
    ]
