"""Scheduled evaluations in short: the page of the run and the text of the issue."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmops.history.entry import LimitPoint
from llmops.reports.scheduled import find_streak, render_issue, render_overview
from tests.reports.histories import build_entry, error_entry
from tests.reports.hostile import HOSTILE
from tests.reports.markdown_test import TAG, tags, tokens

OUR_HTML = {
    "<p>",
    "</p>",
    "<code>",
    "</code>",
    "<table>",
    "</table>",
    "<tr>",
    "</tr>",
    "<th>",
    "</th>",
    "<td>",
    "</td>",
}
OUR_HTML |= {"<a", "</a>"}
FAIL = build_entry(9, value=0.7)


def test_the_overview_lists_the_worst_first_with_the_limits_that_were_not_met() -> None:
    text = render_overview([build_entry(8), FAIL, error_entry(7)], [])
    rows = [line for line in text.splitlines() if line.startswith("| `web")]
    assert text.startswith("## Scheduled evaluation: 1 passed, 1 failed, 1 no verdict\n")
    assert [line.split(" | ")[4] for line in rows] == [
        "❌ failed",
        "🚫 no verdict: `the endpoint answers nobody`",
        "✅ passed",
    ]
    assert "`accuracy min 0.8: 0.7`" in rows[0]


def test_what_could_not_be_kept_is_said() -> None:
    assert "> `the history could not be kept`" in render_overview([FAIL], ["the history could not be kept"])


def test_a_stand_in_is_labelled() -> None:
    entry = replace(FAIL, stand_in=True)
    assert "Stand-in model, not a real model." in render_overview([entry], [])
    assert all("no real model" in text for text in render_issue([entry], [], is_over=False))


def test_a_streak_counts_back_over_nights_without_a_verdict() -> None:
    nights = [build_entry(0, 0.9), build_entry(1, 0.7), build_entry(2, 0.7), error_entry(3), build_entry(4, 0.7)]
    other = build_entry(3, 0.9, id="other", subject="flow")
    streak = find_streak(nights[-1], [*nights, other])
    assert (streak.evaluations, streak.since) == (3, nights[1].at)


def test_the_issue_says_what_fails_since_when_and_where_to_look() -> None:
    nights = [build_entry(day, 0.7) for day in range(3)]
    markdown, html = render_issue([nights[-1]], nights, is_over=False)
    for text in (markdown, html):
        assert "2026-07-01, 3 evaluations" in text
        assert "accuracy min 0.8: 0.7" in text
        assert "https://ci.example/runs/2" in text


def test_an_issue_that_is_over_says_so() -> None:
    assert "passes again" in render_issue([build_entry(3)], [], is_over=True)[0]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_data_in_both_forms(text: str) -> None:
    limit = LimitPoint(metric=text, limit="min 1", outcome="fail")
    markdown, html = render_issue([replace(FAIL, error=text, limits=[limit], version=text)], [], is_over=False)
    links = [token.attrs["href"] for token in tokens(markdown) if token.type == "link_open"]
    assert tags(markdown) == []
    assert links == ["https://ci.example/runs/9"]
    assert {tag.partition(" ")[0] for tag in TAG.findall(html)} <= OUR_HTML
    assert not [
        line for line in f"{markdown}\n{html}".splitlines() if line.lstrip().startswith("::") or "##vso[" in line
    ]


def test_a_table_row_stays_one_row_whatever_a_name_holds() -> None:
    markdown, _ = render_issue([replace(FAIL, error="a | b\nc")], [], is_over=False)
    row = next(line for line in markdown.splitlines() if "a ¦ b c" in line)
    assert row.count(" | ") == 5
