"""What scheduled evaluations found, in short: for the page of the run, and for the issue that is open while one fails.

It is made of numbers and of names from the configuration; nothing that a row or a model says is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import NamedTuple

from llmops.history.entry import HistoryEntry, LimitPoint, MetricPoint
from llmops.reports.markdown import MARKS, code
from llmops.reports.numbers import count, format_number
from llmops.reports.plain_text import defuse_log_commands, show_line

WORDS: Mapping[str, str] = {
    "pass": "passed",
    "fail": "failed",
    "inconclusive": "inconclusive",
    "error": "no verdict",
}
ERROR_MARK = "🚫"


class Streak(NamedTuple):
    """How long it has been so: evaluations in a row, the newest included, and when the first of them was."""

    evaluations: int
    since: str


def describe_subject(entry: HistoryEntry) -> str:
    """Say what was measured: `the flow` or `version 3 at the endpoint`."""
    if entry.subject == "flow":
        return f"the flow at {entry.commit[:7]}" if entry.commit else "the flow"
    return f"version {entry.version} at the endpoint" if entry.version else "the endpoint"


def is_same_series(one: HistoryEntry, other: HistoryEntry) -> bool:
    """Say whether two entries are about the same: experiment, environment, subject and data set by name."""
    return _series(one) == _series(other)


def _series(entry: HistoryEntry) -> tuple[str, str, str, str]:
    return (entry.experiment, entry.environment, entry.subject, entry.dataset.name)


def find_streak(entry: HistoryEntry, history: Sequence[HistoryEntry]) -> Streak:
    """Count back from an entry how often the outcome was the same, without a break; errors in between break nothing.

    Args:
        history: oldest first; may hold the entry itself.
    """
    before = [one for one in history if is_same_series(one, entry) and one.id != entry.id and one.at <= entry.at]
    number, since = 1, entry.at
    for one in reversed(before):
        if one.outcome == entry.outcome:
            number, since = number + 1, one.at
        elif one.outcome != "error":
            break
    return Streak(number, since)


def broken_limits(entry: HistoryEntry) -> Sequence[LimitPoint]:
    """Give the limits that were not met or not decided, failures first."""
    unmet = [limit for limit in entry.limits if limit.outcome in ("fail", "inconclusive")]
    return sorted(unmet, key=lambda limit: limit.outcome != "fail")


def metric_of(limit: LimitPoint, entry: HistoryEntry) -> MetricPoint | None:
    """Find the metric that a limit is on."""
    named = ((metric, (metric.name, f"{metric.evaluator}.{metric.name}")) for metric in entry.metrics)
    return next((metric for metric, names in named if limit.metric in names), None)


def render_overview(entries: Sequence[HistoryEntry], problems: Sequence[str]) -> str:
    """Write what was measured as Markdown, the worst first.

    Args:
        problems: sentences for people: what could not be kept or told.
    """
    ordered = sorted(entries, key=lambda entry: _RANK[entry.outcome])
    tally = ", ".join(
        f"{number} {word}" for outcome, word in WORDS.items() if (number := sum(e.outcome == outcome for e in entries))
    )
    lines = [f"## Scheduled evaluation: {tally or 'nothing was measured'}", ""]
    if ordered:
        lines += ["| Experiment | Environment | What | Data set | Outcome | Limits not met |"]
        lines += ["| :-- | :-- | :-- | :-- | :-- | :-- |"]
        lines += [_overview_row(entry) for entry in ordered]
    if any(entry.stand_in for entry in entries):
        lines += ["", "> **Stand-in model, not a real model.** The numbers say nothing about a real one."]
    lines += [line for problem in problems for line in ("", f"> {code(problem, 600)}")]
    return "\n".join([*lines, ""])


def render_issue(entries: Sequence[HistoryEntry], history: Sequence[HistoryEntry], *, is_over: bool) -> tuple[str, str]:
    """Write the text of the issue about an experiment in an environment, as Markdown and as HTML.

    Args:
        entries: of this experiment and environment, as they were measured now.
        history: all entries, oldest first.
        is_over: whether it has recovered.
    """
    ordered = sorted(entries, key=lambda entry: _RANK[entry.outcome])
    return _issue(ordered, history, _MARKDOWN, is_over=is_over), _issue(ordered, history, _HTML, is_over=is_over)


class _Look(NamedTuple):
    """How a medium writes: a value as data, a paragraph, a table, a link of ours."""

    value: Callable[[str], str]
    paragraph: Callable[[str], str]
    table: Callable[[Sequence[str], Iterable[Sequence[str]]], str]
    link: Callable[[str, str], str]


def _issue(entries: Sequence[HistoryEntry], history: Sequence[HistoryEntry], look: _Look, *, is_over: bool) -> str:
    first = entries[0]
    names = f"{look.value(first.experiment)} in {look.value(first.environment)}"
    say = f"The scheduled evaluation of {names} {'passes again' if is_over else 'does not pass'}."
    head = ("What", "Data set", "Outcome", "Since", "Limits not met", "Run")
    parts = [
        look.paragraph(say),
        look.table(head, [_issue_row(entry, find_streak(entry, history), look) for entry in entries]),
    ]
    if any(entry.stand_in for entry in entries):
        parts.append(look.paragraph("A stand-in model answered, which is no real model."))
    ending = "This was closed because every measurement passes again." if is_over else _HOW_IT_ENDS
    return "\n".join([*parts, look.paragraph(ending), ""])


_HOW_IT_ENDS = "This is kept up to date by each scheduled evaluation, and closed when every measurement passes."
_RANK = {"fail": 0, "error": 1, "inconclusive": 2, "pass": 3}


def _issue_row(entry: HistoryEntry, streak: Streak, look: _Look) -> Sequence[str]:
    limits = ", ".join(look.value(describe_limit(limit, entry)) for limit in broken_limits(entry))
    outcome = f"{_mark(entry)} {WORDS[entry.outcome]}" + (f" ({look.value(entry.error)})" if entry.error else "")
    since = f"{streak.since[:10]}, {count(streak.evaluations, 'evaluation')}"
    run = look.link("run", entry.link) if entry.link else ""
    return (look.value(describe_subject(entry)), look.value(entry.dataset.name), outcome, since, limits, run)


def _overview_row(entry: HistoryEntry) -> str:
    limits = ", ".join(code(describe_limit(limit, entry).replace("|", "¦")) for limit in broken_limits(entry))
    outcome = f"{_mark(entry)} {WORDS[entry.outcome]}" + (f": {_cell(entry.error)}" if entry.error else "")
    names = (_cell(entry.experiment), _cell(entry.environment), _cell(describe_subject(entry)))
    return f"| {' | '.join([*names, _cell(entry.dataset.name), outcome, limits])} |"


def describe_limit(limit: LimitPoint, entry: HistoryEntry) -> str:
    """Say a limit and what was measured: `accuracy min 0.8: 0.65`."""
    metric = metric_of(limit, entry)
    name = limit.limit if limit.limit.startswith(limit.metric) else f"{limit.metric} {limit.limit}"
    word = "" if limit.outcome == "fail" else f", {limit.outcome}"
    return f"{name}: {format_number(metric.value)}{word}" if metric else f"{name}{word}"


def _mark(entry: HistoryEntry) -> str:
    return ERROR_MARK if entry.outcome == "error" else MARKS[entry.outcome]


def _cell(text: str) -> str:
    return code(text.replace("|", "¦"), 120)


def _markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, [":--"] * len(head), *rows]
    return "\n".join(["", *(f"| {' | '.join(line)} |" for line in lines), ""])


def _html_value(text: str) -> str:
    return f"<code>{escape(defuse_log_commands(show_line(text, 200)))}</code>"


def _html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{name}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


_MARKDOWN = _Look(
    value=_cell,
    paragraph=lambda text: f"{text}\n",
    table=_markdown_table,
    link=lambda label, address: f"[{label}]({address})",
)
_HTML = _Look(
    value=_html_value,
    paragraph=lambda text: f"<p>{text}</p>",
    table=_html_table,
    link=lambda label, address: f'<a href="{escape(address)}">{label}</a>',
)
