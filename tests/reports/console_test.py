"""A verdict in a terminal."""

from __future__ import annotations

import dataclasses
import re

import pytest

from llmops.records import VerdictRecord
from llmops.reports.console import FLIPS_SHOWN, render, render_several
from llmops.reports.terminal import cut_to_width, display_width
from tests.reports.verdicts import (
    ACCURACY,
    build_evaluation,
    build_finding,
    build_verdict,
    failed_verdict,
    hostile_verdict,
)

SGR = re.compile("\x1b\\[[0-9;]*m")
FAILED = """\
✗ web-classification in local: failed. 4 limits: 3 failed, 1 inconclusive.
  flow      flows/web-classification, 1f3c2d1 with changes, sha256:3f3f3f3f3f3f
  data      smoke, 20 rows
  baseline  origin/main at 9a8b7c6, sha256:4e4e4e4e4e4e
! stand-in model, not a real model

metric          candidate  baseline   diff  n/fail/unm  limit
─────────────────────────────────────────────────────────────────────────────
accuracy             0.65       0.9  -0.25      19/1/1  ✗ min 0.8
                                                        ✗ max_regression 0.03
max_failed              1         —      —              ✗ max_failed 0
max_unmeasured          1         —      —              ? max_unmeasured 0

20 rows: 18 scored, 1 failed, 1 unmeasured.
Against origin/main: 3 rows regressed, 1 improved.

Rows that flipped, worst first
  row 12 regressed: accuracy.grade 1 → 0; category Movie → App; url=https://app…
  row 3 regressed: accuracy.grade 1 → 0; category Profile → None; url=https://a…
  row 17 regressed: accuracy.grade 1 → 0; category Academic → PDF; url=https://…

✗ accuracy is 0.65, below the minimum of 0.8.
✗ accuracy fell by 0.25 against origin/main; 0.03 is allowed.
✗ max_failed 0: 1 of 20 rows failed in the flow; 0 may
? max_unmeasured 0: 1 of 20 rows could not be measured; 0 may

Reports
  HTML  .llmops/reports/a/report.html"""


def test_a_failed_verdict_says_what_failed_why_and_where_to_read_more() -> None:
    text = render(failed_verdict(), width=80, color=False, paths={"HTML": ".llmops/reports/a/report.html"})
    assert text == FAILED


def test_intervals_are_shown_where_there_is_room() -> None:
    assert "0.65 [0.433, 0.819]" in render(failed_verdict(), width=140, color=False)


def test_without_a_baseline_its_columns_are_gone_and_the_reason_is_given() -> None:
    text = render(build_verdict(), width=100, color=False)
    assert "baseline  " not in text
    assert "No baseline: the flow does not exist at the merge base." in text


@pytest.mark.parametrize("verdict", [build_verdict(), failed_verdict(), hostile_verdict()])
@pytest.mark.parametrize("width", [20, 44, 80, 132])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_no_line_is_wider_than_the_terminal_or_beyond_its_encoding(
    verdict: VerdictRecord, width: int, encoding: str
) -> None:
    text = render(verdict, width=width, color=False, encoding=encoding)
    text.encode(encoding)
    assert [line for line in text.split("\n") if display_width(line) > width] == []


def test_colours_add_nothing_but_colours() -> None:
    painted = render(failed_verdict(), width=100, color=True)
    assert "\x1b[1;31m" in painted
    assert SGR.sub("", painted) == render(failed_verdict(), width=100, color=False)


def test_hostile_text_reaches_neither_the_terminal_nor_the_runner() -> None:
    text = SGR.sub("", render(hostile_verdict(), width=200, color=True, paths={"HTML": "a\x1b[2J\n::error::x"}))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2066]", text)
    assert not re.search(r"##(vso)?\[|^\s*::", text, re.MULTILINE)


def test_wide_characters_keep_the_columns_straight() -> None:
    metrics = (dataclasses.replace(ACCURACY, name="正確さ"), dataclasses.replace(ACCURACY, name="e\u0301tat"))
    lines = render(build_verdict(candidate=build_evaluation(*metrics)), width=100, color=False).split("\n")
    ends = {display_width(line.split("0.9")[0]) for line in lines if "[0.699" in line}
    assert len(ends) == 1


def test_a_metric_that_was_not_reported_is_a_dash_and_never_a_number() -> None:
    lost = dataclasses.replace(ACCURACY, value=None, interval=None, n=0, unmeasured=20)
    text = render(build_verdict(candidate=build_evaluation(lost, unmeasured=20)), width=100, color=False)
    assert re.search(r"^accuracy +— +0, 20 unmeasured", text, re.MULTILINE)


def test_metrics_without_a_limit_come_last_and_are_counted_when_there_are_many() -> None:
    metrics = [dataclasses.replace(ACCURACY, name=f"recall_{at}") for at in range(20)]
    text = render(build_verdict(candidate=build_evaluation(*metrics, ACCURACY)), width=100, color=False)
    assert text.index("\naccuracy ") < text.index("recall_0")
    assert "… 14 more metrics without a limit" in text


def test_a_limit_that_was_not_judged_is_neither_passed_nor_failed() -> None:
    finding = build_finding(limit="max_regression 0.03", outcome="skipped", message="there is no baseline")
    text = render(build_verdict(findings=(finding,)), width=100, color=False)
    assert "passed. 1 limit: 1 not judged." in text
    assert "max_regression 0.03  — not judged" in text
    assert "\n— accuracy: max_regression 0.03: there is no baseline" in text


def test_an_inconclusive_verdict_that_only_warns_says_so() -> None:
    finding = build_finding(outcome="inconclusive", blocks=False, message="60 more rows would decide.")
    text = render(build_verdict(outcome="inconclusive", findings=(finding,)), width=100, color=False)
    assert text.startswith("? web-classification in local: inconclusive, does not block.")
    assert "? inconclusive, warns" in text


def test_only_the_three_worst_flips_are_listed() -> None:
    text = render(failed_verdict(), width=100, color=False)
    assert len(re.findall(r"^  row \d+", text, re.MULTILINE)) == FLIPS_SHOWN == 3


def test_several_experiments_share_one_table() -> None:
    text = render_several([failed_verdict(), build_verdict(experiment="質問応答")], width=120, color=False)
    assert text.split("\n")[2:] == [
        "web-classification  ✗ failed    20       1          3  4 limits: 3 failed, 1 inconclusive",
        "質問応答            ✓ passed    20       0          —  1 limit: 1 passed",
        "! stand-in model, not a real model",
    ]


def test_a_width_counts_columns() -> None:
    assert [display_width(text) for text in ("abc", "日本語", "e\u0301tat", "नमस्ते")] == [3, 6, 4, 4]


def test_a_cut_counts_columns_and_not_characters() -> None:
    assert cut_to_width("日本語", 5) == "日本…"
    assert cut_to_width("日本語", 4) == "日…"
    assert cut_to_width("日本語", 6) == "日本語"
    assert cut_to_width("abc", 0) == ""
