"""A verdict as Markdown: one screen for a pull request, with the details folded away.

Whatever a row, a model, a flow or a file says is data: it stands in code spans, or is escaped, and can neither notify
anybody nor link, load or draw anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from llmops.core.metrics import Finding, FindingOutcome
from llmops.records import EvaluationRecord, RowComparison, VerdictRecord
from llmops.reports.evidence_table import HEADS, evidence_rows
from llmops.reports.numbers import MISSING, count, format_difference, format_number
from llmops.reports.plain_text import defuse_log_commands, reveal, show_line
from llmops.reports.rows import ABSENT, changed_fields, describe_side, is_number, show_side
from llmops.reports.summary import (
    STAND_IN_LABEL,
    MetricSummary,
    cloud_link,
    count_measured,
    describe_changes,
    describe_commit,
    describe_findings,
    describe_outcome,
    describe_rows,
    describe_usage,
    findings_to_read,
    limit_number,
    notes_of,
    other_findings,
    say,
    say_outcome,
    summarize_metrics,
)

MAX_CHARACTERS = 60_000
"""GitHub refuses comments over 65 536 characters."""

ROWS_LISTED = 20
UNJUDGED_SHOWN = 8
CHANGES_LISTED = 20
DIFF_LINES = 60
LONGEST_LINE = 300
MARKS: dict[FindingOutcome, str] = {"pass": "✅", "fail": "❌", "inconclusive": "⚠️", "skipped": "⚪"}

_ESCAPES = {char: f"\\{char}" for char in "\\`*_{}[]()#!~$^"}
_ESCAPES |= {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"}
# A word joiner cannot be seen and keeps mentions, references, addresses and hosts from being recognised.
_REFERENCE = re.compile(r"(@|[#!](?=\d)|GH-(?=\d)|:(?=//)|\.(?=[^\W\d]))", re.IGNORECASE)
_FENCE = re.compile(r"^(`{3,})(.*)$", re.MULTILINE)
_FOLD_END = "\n\n</details>\n"
_WORD_JOINER = "\u2060"


def render(verdict: VerdictRecord) -> str:
    """Write a verdict as GitHub Flavored Markdown of at most `MAX_CHARACTERS` characters.

    It also renders in the comments of Azure Repos. What does not fit is cut at the end of a line.
    """
    sections = (
        _head(verdict),
        _metrics(verdict),
        _usage(verdict),
        _reasons(verdict),
        _more_metrics(verdict),
        _evidence(verdict),
        _rows("Rows that flipped", verdict.flipped, verdict.regressed + verdict.improved),
        _rows("Worst rows", [row for row in verdict.worst if row not in verdict.flipped], None),
        _changes(verdict),
        _what_ran(verdict),
    )
    return cut_at_line("\n".join(line for section in sections if section for line in (*section, "")), MAX_CHARACTERS)


def code(value: object, limit: int = 200) -> str:
    """Write any value as a code span on one line; nothing in it is markup."""
    text = defuse_log_commands(show_line(value, limit))
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def prose(text: str, limit: int = 600) -> str:
    """Write a sentence so that it reads as it is: no markup, mentions, references or links."""
    line = defuse_log_commands(show_line(text, limit))
    joined = _REFERENCE.sub(lambda match: match[0] + _WORD_JOINER, line)
    return "".join(_ESCAPES.get(char, char) for char in joined)


def cut_at_line(text: str, limit: int) -> str:
    """Cut a report at the end of a line; close the code block and what is folded."""
    if len(text) <= limit:
        return text
    note = "\n_This report was cut; the HTML report has everything._\n"
    longest = "`" * max((len(found[1]) for found in _FENCE.finditer(text)), default=0)
    kept = text[: max(0, limit - len(f"\n{longest}{_FOLD_END}{note}"))].rpartition("\n")[0]
    fence = _open_fence(kept)
    is_folded = kept.count("\n<details>") > kept.count("\n</details>")
    return f"{kept}{fence and chr(10)}{fence}{_FOLD_END if is_folded else chr(10)}{note}"


def _open_fence(text: str) -> str:
    """Give the fence of a code block that does not end in a text; empty when there is none."""
    fence = ""
    for found in _FENCE.finditer(text):
        if not fence:
            fence = found[1]
        elif len(found[1]) >= len(fence) and not found[2].strip():
            fence = ""
    return fence


def _head(verdict: VerdictRecord) -> Sequence[str]:
    title = f"## {MARKS[verdict.outcome]} {prose(verdict.experiment, 100)}: {describe_outcome(verdict)}"
    label = f"**{STAND_IN_LABEL.capitalize()}.** The numbers say nothing about a real one."
    notes = [*([label] if verdict.stand_in else []), *map(prose, notes_of(verdict))]
    quoted = [line for note in notes for line in (f"> {note}", ">")][:-1]
    facts = (describe_findings(verdict), describe_rows(verdict.candidate), prose(describe_changes(verdict)))
    return [title, "", *quoted, *([""] if quoted else []), " ".join(facts)]


def _metrics(verdict: VerdictRecord) -> Sequence[str]:
    shown, _ = _split_metrics(verdict)
    return [
        *_table_head(verdict),
        *(line for summary in shown for line in _metric_lines(summary, verdict)),
        *(_finding_line(finding, verdict) for finding in other_findings(verdict)),
    ]


def _more_metrics(verdict: VerdictRecord) -> Sequence[str]:
    _, rest = _split_metrics(verdict)
    lines = [line for summary in rest for line in _metric_lines(summary, verdict)]
    return _fold(count(len(rest), "more metric"), [*_table_head(verdict), *lines]) if rest else []


def _evidence(verdict: VerdictRecord) -> Sequence[str]:
    """Show what the rows prove about each limit: bounds, p-values, power."""
    rows = evidence_rows(verdict)
    if not rows:
        return []
    heads = [f"| {' | '.join(HEADS)} |", "| :-- | --: | :-- | --: | --: | :-- | :-- |"]
    return _fold("Evidence", [*heads, *(f"| {' | '.join(prose(cell, 200) for cell in row)} |" for row in rows)])


def _split_metrics(verdict: VerdictRecord) -> tuple[Sequence[MetricSummary], Sequence[MetricSummary]]:
    """Split the metrics into those that are shown at once, which are those with a limit, and the others."""
    summaries = summarize_metrics(verdict)
    shown = sum(bool(summary.findings) for summary in summaries) or UNJUDGED_SHOWN
    return summaries[:shown], summaries[shown:]


def _table_head(verdict: VerdictRecord) -> Sequence[str]:
    names = ["Metric", "Candidate", "Baseline", "Difference", "n", "Limit", "Finding"]
    rules = [":--", "--:", "--:", "--:", "--:", ":--", ":--"]
    return [_table_line(names, verdict), _table_line(rules, verdict)]


def _table_line(cells: Sequence[str], verdict: VerdictRecord) -> str:
    kept = [cell for at, cell in enumerate(cells) if verdict.baseline or at not in (2, 3)]
    return f"| {' | '.join(kept)} |"


def _metric_lines(summary: MetricSummary, verdict: VerdictRecord) -> Sequence[str]:
    first = summary.findings[0] if summary.findings else None
    metric = summary.metric
    value = f"**{format_number(metric.value, apart_from=limit_number(first))}**"
    interval = " ({} to {})".format(*map(format_number, metric.interval)) if metric.interval else ""
    cells = [
        _code_cell(metric.name),
        value + interval,
        format_number(summary.baseline.value if summary.baseline else None),
        format_difference(summary.difference),
        count_measured(metric),
        *_limit_cells(first),
    ]
    rest = ([""] * 5 + [*_limit_cells(finding)] for finding in summary.findings[1:])
    return [_table_line(line, verdict) for line in (cells, *rest)]


def _finding_line(finding: Finding, verdict: VerdictRecord) -> str:
    numbers = (format_number(finding.value), format_number(finding.baseline), format_difference(finding.difference), "")
    return _table_line([_code_cell(finding.metric), *numbers, *_limit_cells(finding)], verdict)


def _limit_cells(finding: Finding | None) -> Sequence[str]:
    if finding is None:
        return ["", ""]
    return [prose(finding.limit, 80), f"{MARKS[finding.outcome]} {say_outcome(finding)}"]


def _code_cell(name: str) -> str:
    """Write a name for a table cell: no renderer agrees with another on a pipe in a code span, so it is broken."""
    return code(name.replace("|", "¦"), 60)


def _usage(verdict: VerdictRecord) -> Sequence[str]:
    """Say on two lines what a line of the data set took, and what exactly was measured."""
    usages = [
        f"{one.name} {one.candidate or MISSING}"
        + (f" (baseline {one.baseline or MISSING})" if verdict.baseline else "")
        for one in describe_usage(verdict)
    ]
    flow = verdict.candidate.run.flow
    link = cloud_link(verdict.candidate.run)
    what = f"Flow {code(flow.path)} at {code(describe_commit(flow), 100)}, {code(flow.digest, 19)}"
    return [
        *([f"Per line: {' · '.join(usages)}", ""] if usages else []),
        what + (f" · [run in the cloud]({link})" if link else ""),
    ]


def _reasons(verdict: VerdictRecord) -> Sequence[str]:
    return [f"- {MARKS[finding.outcome]} {prose(say(finding))}" for finding in findings_to_read(verdict)]


def _rows(title: str, rows: Sequence[RowComparison], total: int | None) -> Sequence[str]:
    if not rows:
        return []
    shown = rows[:ROWS_LISTED]
    of = max(total or 0, len(rows))
    some = f"{title}: {of}" if of == len(shown) else f"{title}: {len(shown)} of {of}, worst first"
    return _fold(some, [line for row in shown for line in _row_lines(row)])


def _row_lines(row: RowComparison) -> Iterable[str]:
    change = "" if row.change in ("none", "same") else f" {row.change}"
    status = "" if row.candidate.status == "scored" else f" {code(describe_side(row.candidate))}"
    yield f"- **Row {row.row}**{change}{status}"
    for pair in changed_fields(row)[:6]:
        before, after = _side(pair.baseline, pair.candidate), _side(pair.candidate, pair.baseline)
        yield f"  - {code(pair.name, 60)}: {before} → {after}"
    for name, value in list(row.inputs.items())[:3]:
        yield f"  - input {code(name, 60)}: {code(value)}"


def _side(value: object, other: object) -> str:
    return show_side(value, other, 0) if value is ABSENT or is_number(value) else code(value)


def _changes(verdict: VerdictRecord) -> Sequence[str]:
    """List what changed in the flow, with the prompts line by line."""
    if not verdict.changes:
        return []
    lines: list[str] = []
    for change in verdict.changes[:CHANGES_LISTED]:
        lines.append(f"- {code(change.text)}")
        if change.diff and change.is_prompt:
            lines += ["", *_code_block(change.diff), ""]
    left = len(verdict.changes) - CHANGES_LISTED
    return _fold("What changed in the flow", [*lines, *([f"- and {left} more"] if left > 0 else [])])


def _code_block(diff: str) -> Sequence[str]:
    """Write a diff as a block that nothing in it can end: every line of a diff begins with a sign of its own."""
    lines = [reveal(line)[:LONGEST_LINE] for line in diff.split("\n")]
    shown = [line if line[:1] in ("+", "-", "@") else f" {line[1:]}" for line in lines[:DIFF_LINES]]
    left = [f" … {len(lines) - DIFF_LINES} more lines"] if len(lines) > DIFF_LINES else []
    fence = "`" * (1 + max((len(run) for line in shown for run in re.findall("`{2,}", line)), default=2))
    return [f"{fence}diff", *(defuse_log_commands(line) for line in (*shown, *left)), fence]


def _what_ran(verdict: VerdictRecord) -> Sequence[str]:
    data, evaluators = verdict.candidate.run.dataset, verdict.candidate.evaluators
    lines = [f"- candidate: {_describe_flow(verdict.candidate)}"]
    if verdict.baseline:
        lines.append(f"- baseline: {_describe_flow(verdict.baseline)}")
    lines += [
        f"- data set: {code(data.name, 60)}, {count(data.rows, 'row')}, {code(data.digest, 19)}",
        f"- environment: {code(verdict.environment, 60)}{f', {STAND_IN_LABEL}' if verdict.stand_in else ''}",
        *(f"- evaluator: {code(name, 60)}, {code(digest, 19)}" for name, digest in evaluators.items()),
        f"- evidence: {code(verdict.evidence, 19)}, {code(verdict.created_at, 40)}",
    ]
    return _fold("What ran", lines)


def _describe_flow(evaluation: EvaluationRecord) -> str:
    flow = evaluation.run.flow
    variants = ", ".join(f"{code(node, 60)} = {code(variant, 60)}" for node, variant in flow.variants.items())
    parts = (code(flow.path), code(describe_commit(flow), 100), code(flow.digest, 19), variants)
    return ", ".join(part for part in parts if part)


def _fold(title: str, lines: Sequence[str]) -> Sequence[str]:
    return ["<details>", f"<summary>{title}</summary>", "", *lines, "", "</details>"]
