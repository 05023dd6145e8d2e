"""Bounds, p-values and power beside the intervals, in every report for people."""

from __future__ import annotations

import json

import pytest

from llmops.core.documents import to_json
from llmops.reports import console, html, markdown
from llmops.reports.evidence_table import evidence_rows
from llmops.reports.numbers import format_chance
from tests.reports.verdicts import build_verdict, weighed_verdict


def test_a_limit_with_confidence_has_a_row_and_a_plain_comparison_has_none() -> None:
    undecided, failed = evidence_rows(weighed_verdict())
    assert undecided == (
        "accuracy: max_regression 0.05 with 95 % confidence",
        "-0.05 [-0.2, 0.04]",
        "at least -0.2031, at most 0.0502",
        "0.31",
        "1",
        "exact paired test",
        "20 rows: fails a true change of -0.4, can never pass it in 80 % of runs",
    )
    assert failed[1:] == ("0.9 [0.699, 0.972]", "—", "1", "< 0.0001", "t test, approximate", "—")


def test_markdown_folds_the_evidence() -> None:
    text = markdown.render(weighed_verdict())
    assert "<summary>Evidence</summary>" in text
    assert "| t test, approximate | — |" in text
    assert "<summary>Evidence</summary>" not in markdown.render(build_verdict())


@pytest.mark.parametrize("width", [60, 150, 320])
def test_a_terminal_shows_the_evidence_as_a_table_or_in_blocks(width: int) -> None:
    text = console.render(weighed_verdict(), width=width, color=False)
    assert "at least -0.2031, at most 0.0502" in text
    assert "adjusted p of kept" in text
    assert ("power" in text) == (width != 150)


def test_a_page_has_a_cell_for_each_number() -> None:
    page = html.render(weighed_verdict())
    assert '<td role="cell" data-label="Adjusted p of kept">&lt; 0.0001</td>' in page
    assert '<td role="cell" data-label="Shown">at least -0.2031, at most 0.0502</td>' in page
    assert 'id="evidence"' not in html.render(build_verdict())


def test_a_machine_reads_the_numbers_from_the_verdict() -> None:
    finding = json.loads(json.dumps(to_json(weighed_verdict())))["findings"][0]
    assert (finding["p_pass"], finding["p_adjusted"], finding["bounds"]) == (0.31, 1.0, [-0.2031, 0.0502])


def test_tiny_p_values_are_bounded_and_unknown_ones_are_a_dash() -> None:
    shown = [format_chance(value, alpha=0.05) for value in (0.0, 0.00009, 0.0001, 0.05000001, 1.0, None)]
    assert shown == ["< 0.0001", "< 0.0001", "0.0001", "0.05000001", "1", "—"]
