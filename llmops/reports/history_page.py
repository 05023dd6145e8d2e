"""The history of scheduled evaluations as one self-contained HTML page; see `page`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from llmops.history.entry import EntryOutcome, HistoryEntry, LimitPoint, MetricPoint
from llmops.reports.numbers import count, format_interval, format_number
from llmops.reports.page import readable_time, render_page
from llmops.reports.scheduled import WORDS, broken_limits, describe_limit, describe_subject, find_streak
from llmops.reports.trend_chart import TrendChart, TrendLimit, TrendPoint, draw_trend, is_drawable

ENTRIES_DRAWN = 180
"""The newest entries of a series; the files of the history have all of them."""

ENTRIES_LISTED = 60
_FIRST_CHARTS = 4
_SUBJECTS: Mapping[str, str] = {"flow": "The flow on the main branch", "endpoint": "What the endpoint serves"}
_RANK: Mapping[EntryOutcome, int] = {"fail": 0, "error": 1, "inconclusive": 2, "pass": 3}


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One number of a series over time."""

    name: str
    chart: TrendChart


@dataclass(frozen=True, kw_only=True)
class Row:
    """One entry in a table; `values` are in the order of `Series.columns`."""

    entry: HistoryEntry
    at: str
    what: str
    word: str
    values: Sequence[str]
    limits: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Series:
    """One subject over one data set.

    Attributes:
        id: of its heading.
        state: a sentence about now.
        plots, more_plots: numbers that a limit judges first; then the others.
        columns: names of the numbers in the table.
        rows: newest first; left_out: older entries that are not listed.
    """

    id: str
    title: str
    latest: HistoryEntry
    state: str
    plots: Sequence[Plot]
    more_plots: Sequence[Plot]
    columns: Sequence[str]
    rows: Sequence[Row]
    left_out: int


@dataclass(frozen=True, kw_only=True)
class Group:
    """One experiment in one environment."""

    id: str
    experiment: str
    environment: str
    outcome: EntryOutcome
    word: str
    series: Sequence[Series]


def render(entries: Sequence[HistoryEntry], *, damaged: int = 0) -> str:
    """Write a page that works offline, without JavaScript, on a phone and on paper.

    Args:
        entries: oldest first.
        damaged: lines of the history that could not be read.
    """
    groups = _groups(entries)
    tally = Counter(one.latest.outcome for group in groups for one in group.series)
    counts = [(WORDS[outcome], tally[outcome]) for outcome in _RANK if tally[outcome]]
    worst = min((group.outcome for group in groups), key=lambda outcome: _RANK[outcome], default="pass")
    return render_page(
        "history.html.j2",
        script="history.js",
        groups=groups,
        outcome=_tone(worst),
        counts=", ".join(f"{number} {word}" for word, number in counts) or "nothing was measured yet",
        newest=readable_time(entries[-1].at) if entries else "",
        damaged=damaged,
        stand_in=any(entry.stand_in for entry in entries),
        tone=_tone,
    )


def _groups(entries: Sequence[HistoryEntry]) -> Sequence[Group]:
    groups = []
    place = _place
    for number, ((experiment, environment), found) in enumerate(groupby(sorted(entries, key=place), key=place)):
        series = _series_of(list(found), f"group-{number}")
        outcome = min((one.latest.outcome for one in series), key=lambda outcome: _RANK[outcome])
        groups.append(
            Group(
                id=f"group-{number}",
                experiment=experiment,
                environment=environment,
                outcome=outcome,
                word=WORDS[outcome],
                series=series,
            )
        )
    return sorted(groups, key=lambda group: _RANK[group.outcome])


def _place(entry: HistoryEntry) -> tuple[str, str]:
    return (entry.experiment, entry.environment)


def _measured(entry: HistoryEntry) -> tuple[str, str]:
    return (entry.subject, entry.dataset.name)


def _series_of(entries: Sequence[HistoryEntry], group: str) -> Sequence[Series]:
    ordered = sorted(entries, key=_measured)
    found = groupby(ordered, key=_measured)
    return [_series(list(one), f"{group}-{number}") for number, (_, one) in enumerate(found)]


def _series(entries: Sequence[HistoryEntry], identifier: str) -> Series:
    ordered = sorted(entries, key=lambda entry: entry.at)
    drawn, latest = ordered[-ENTRIES_DRAWN:], ordered[-1]
    verdicts = [entry for entry in drawn if entry.outcome != "error"]
    names = _metric_names(verdicts)
    judged = [name for name in names if verdicts and any(_is_on(limit, name) for limit in verdicts[-1].limits)]
    plots = [plot for name in judged if (plot := _plot_metric(name, verdicts))]
    others = [plot for name in names if name not in judged and (plot := _plot_metric(name, verdicts))]
    if not plots:
        plots, others = others[:_FIRST_CHARTS], others[_FIRST_CHARTS:]
    plots += [plot for plot in (_plot_latency(verdicts), _plot_cost(verdicts)) if plot]
    columns = (judged or names)[:_FIRST_CHARTS]
    streak = find_streak(latest, ordered)
    state = f"{WORDS[latest.outcome]} since {readable_time(streak.since)} ({count(streak.evaluations, 'evaluation')})"
    return Series(
        id=identifier,
        title=f"{_SUBJECTS[latest.subject]}, data set {latest.dataset.name}",
        latest=latest,
        state=state,
        plots=plots,
        more_plots=others,
        columns=columns,
        rows=[_row(entry, columns) for entry in reversed(ordered[-ENTRIES_LISTED:])],
        left_out=max(0, len(ordered) - ENTRIES_LISTED),
    )


def _metric_names(entries: Sequence[HistoryEntry]) -> Sequence[str]:
    """Name the metrics as `evaluator.metric`, the newest entry's first."""
    return list(dict.fromkeys(_name(metric) for entry in reversed(entries) for metric in entry.metrics))


def _name(metric: MetricPoint) -> str:
    return f"{metric.evaluator}.{metric.name}"


def _is_on(limit: LimitPoint, name: str) -> bool:
    return limit.metric in (name, name.partition(".")[2])


def _value(entry: HistoryEntry, name: str) -> MetricPoint | None:
    found = next((metric for metric in entry.metrics if _name(metric) == name), None)
    return found if found and is_drawable(found.value) else None


def _plot_metric(name: str, entries: Sequence[HistoryEntry]) -> Plot | None:
    found = [(entry, metric) for entry in entries if (metric := _value(entry, name))]
    points = [
        TrendPoint(
            day=entry.at[:10],
            value=metric.value or 0.0,
            interval=metric.interval,
            outcome=_outcome_of(entry, name),
            change=_change(before, entry),
        )
        for before, (entry, metric) in zip([None, *(entry for entry, _ in found)], found, strict=False)
    ]
    limits = _limits(name, entries[-1]) if entries else []
    chart = draw_trend(name, points, limits)
    return Plot(name=name, chart=chart) if chart else None


def _plot_latency(entries: Sequence[HistoryEntry]) -> Plot | None:
    found = [(entry, entry.latency_s["p95"]) for entry in entries if is_drawable(entry.latency_s.get("p95"))]
    return _plot_numbers("latency, 95th percentile, seconds", found)


def _plot_cost(entries: Sequence[HistoryEntry]) -> Plot | None:
    return _plot_numbers("cost, US dollars", [(e, e.cost_usd) for e in entries if is_drawable(e.cost_usd)])


def _plot_numbers(name: str, found: Sequence[tuple[HistoryEntry, float]]) -> Plot | None:
    points = [
        TrendPoint(day=entry.at[:10], value=value, interval=None, outcome="none", change=_change(before, entry))
        for before, (entry, value) in zip([None, *(entry for entry, _ in found)], found, strict=False)
    ]
    chart = draw_trend(name, points)
    return Plot(name=name, chart=chart) if chart else None


def _outcome_of(entry: HistoryEntry, name: str) -> str:
    """Give the worst outcome of the limits on a metric; `none` when no limit judges it."""
    outcomes = {limit.outcome for limit in entry.limits if _is_on(limit, name)}
    return next((one for one in ("fail", "inconclusive", "pass") if one in outcomes), "none")


def _change(before: HistoryEntry | None, entry: HistoryEntry) -> str:
    """Say what is different from the evaluation before."""
    if before is None:
        return ""
    changes = [f"version {entry.version}"] if entry.version != before.version else []
    changes += ["other rows"] if entry.dataset.digest != before.dataset.digest else []
    changes += ["other evaluators"] if dict(entry.evaluators) != dict(before.evaluators) else []
    return ", ".join(changes)


def _limits(name: str, entry: HistoryEntry) -> Sequence[TrendLimit]:
    """Read the fixed limits on a metric as the newest entry has them, but for those that are on some rows only."""
    limits = []
    for limit in entry.limits:
        words = limit.limit.split()
        if _is_on(limit, name) and len(words) == 2 and words[0] in ("min", "max"):
            try:
                value = float(words[1])
            except ValueError:
                continue
            if is_drawable(value):
                limits.append(TrendLimit(value=value, is_minimum=words[0] == "min"))
    return limits


def _row(entry: HistoryEntry, columns: Sequence[str]) -> Row:
    return Row(
        entry=entry,
        at=readable_time(entry.at),
        what=describe_subject(entry),
        word=WORDS[entry.outcome],
        values=[_say_value(_value(entry, name)) for name in columns],
        limits=[describe_limit(limit, entry) for limit in broken_limits(entry)],
    )


def _say_value(metric: MetricPoint | None) -> str:
    if metric is None:
        return format_number(None)
    return f"{format_number(metric.value)} {format_interval(metric.interval)}".rstrip()


def _tone(outcome: str) -> str:
    """Give the class of an outcome; no verdict looks like missing evidence."""
    return "inconclusive" if outcome == "error" else outcome
