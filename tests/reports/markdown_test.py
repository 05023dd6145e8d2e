"""A verdict as Markdown."""

from __future__ import annotations

import dataclasses
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from llmops.records import FlowChange, VerdictRecord
from llmops.reports.markdown import MAX_CHARACTERS, code, cut_at_line, prose, render
from tests.reports.hostile import HOSTILE
from tests.reports.verdicts import (
    ACCURACY,
    build_evaluation,
    build_finding,
    build_row,
    build_side,
    build_verdict,
    failed_verdict,
    hostile_verdict,
)

READER = MarkdownIt("gfm-like", {"html": True, "linkify": True})
TAG = re.compile(r"<[^>]*>")
OUR_HTML = {"<details>", "</details>", "<summary>", "</summary>"}
anything = st.text(st.characters(exclude_categories=()), max_size=80) | st.sampled_from(HOSTILE)


def tokens(text: str) -> list[Token]:
    """Read Markdown as GitHub does; inline tokens are flattened."""
    return [inner for token in READER.parse(text) for inner in (token, *(token.children or ()))]


def tags(text: str) -> list[str]:
    """Give the HTML tags that a report itself holds, in order."""
    return [tag for token in tokens(text) if token.type.startswith("html") for tag in TAG.findall(token.content)]


def test_a_failed_verdict_shows_limits_reasons_and_folded_rows() -> None:
    text = render(failed_verdict())
    assert text.startswith("## ❌ web-classification: failed\n\n> **Stand-in model, not a real model.**")
    assert (
        "| `accuracy` | **0.65** (0.433 to 0.819) | 0.9 | -0.25 | 19, 1 failed, 1 unmeasured | min 0.8 | ❌ fail |"
        in text
    )
    assert "- ❌ accuracy fell by 0.25 against origin/main; 0.03 is allowed." in text
    assert "<summary>Rows that flipped: 4</summary>\n\n- **Row 12** regressed\n  - `accuracy.grade`: 1 → 0" in text


def test_what_is_not_folded_fits_on_one_screen() -> None:
    folded = re.sub(r"<details>.*?</details>", "<details>", render(failed_verdict()), flags=re.DOTALL)
    assert len(folded.splitlines()) < 30


def test_without_a_baseline_the_table_has_no_column_for_it() -> None:
    text = render(build_verdict())
    assert "| Metric | Candidate | n | Limit | Finding |" in text
    assert "No baseline: the flow does not exist at the merge base." in text


@pytest.mark.parametrize("verdict", [build_verdict(), failed_verdict(), hostile_verdict()])
def test_a_report_holds_no_html_but_ours_and_no_link_or_image(verdict: VerdictRecord) -> None:
    text = render(verdict)
    assert set(tags(text)) <= OUR_HTML
    assert tags(text).count("<details>") == tags(text).count("</details>")
    assert {token.type for token in tokens(text)}.isdisjoint({"link_open", "image", "fence", "code_block"})


def test_hostile_names_and_limits_add_no_cell_to_a_table() -> None:
    cells = [token for token in READER.parse(render(hostile_verdict())) if token.type in ("tr_close", "inline")]
    last = [one.content for one, other in pairwise(cells) if other.type == "tr_close"]
    assert last == ["Finding", *["❌ fail"] * len(HOSTILE)]


@given(anything)
def test_a_code_span_is_one_token_of_text(text: str) -> None:
    inline = READER.parseInline(f"a {code(text)} b")[0].children or []
    assert [token.type for token in inline] == ["text", "code_inline", "text"]


@given(anything)
def test_a_sentence_is_text_and_nothing_else(text: str) -> None:
    inline = READER.parseInline(f"a {prose(text)}")[0].children or []
    assert {token.type for token in inline} <= {"text", "text_special"}


@given(anything)
def test_a_sentence_notifies_and_references_nobody(text: str) -> None:
    inline = READER.parseInline(f"a {prose(text)}")[0].children or []
    shown = "".join(token.content for token in inline)
    assert not re.search(r"@\w|[#!]\d|gh-\d|://|www\.\w", shown, re.IGNORECASE)


def test_a_sentence_reads_as_it_was_written() -> None:
    inline = READER.parseInline(prose("f1_Movie *fell* to 0.5 <b> [x](y) & more | @you"))[0].children or []
    assert "".join(token.content for token in inline) == "f1_Movie *fell* to 0.5 <b> [x](y) & more | @\u2060you"


def test_a_huge_report_is_cut_at_a_line_with_everything_closed() -> None:
    notes = tuple(f"note {at} " + "x" * 500 for at in range(200))
    text = render(failed_verdict(notes=notes))
    assert len(text) <= MAX_CHARACTERS
    assert text.endswith("\n_This report was cut; the HTML report has everything._\n")
    assert text.count("<details>") == text.count("</details>")


def test_a_cut_inside_of_a_fold_closes_it() -> None:
    lines = "\n".join(["# Title", "<details>", "<summary>s</summary>", "", *["- line"] * 100, "", "</details>"])
    text = cut_at_line(lines, 300)
    assert len(text) <= 300
    assert "\n- line\n\n</details>\n\n_This" in text


def test_large_answers_are_shortened() -> None:
    row = build_row(1, build_side("a" * 1_000_000), build_side("b" * 1_000_000), change="regressed")
    assert len(render(failed_verdict(flipped=(row,), worst=()))) < 5_000


def test_a_limit_that_was_not_judged_has_its_own_mark() -> None:
    finding = build_finding(limit="max_regression 0.03", outcome="skipped", message="there is no baseline")
    assert "| max\\_regression 0.03 | ⚪ not judged |" in render(build_verdict(findings=(finding,)))


def test_metrics_without_a_limit_are_folded() -> None:
    metrics = [dataclasses.replace(ACCURACY, name=f"recall_{at}") for at in range(20)]
    text = render(build_verdict(candidate=build_evaluation(ACCURACY, *metrics)))
    assert text.index("<summary>20 more metrics</summary>") < text.index("`recall_0`")


def test_what_changed_in_a_prompt_is_folded_as_a_diff() -> None:
    change = FlowChange(
        text="node a: prompt a.jinja2 changed (+1 -1 lines)", diff="@@ -1 +1 @@\n-old\n+new", is_prompt=True
    )
    text = render(failed_verdict(changes=(change,)))
    assert "<summary>What changed in the flow</summary>" in text
    assert "```diff\n@@ -1 +1 @@\n-old\n+new\n```" in text


def test_a_hostile_prompt_cannot_leave_its_block() -> None:
    diff = "\n".join(f"+{line}" for hostile in HOSTILE for line in hostile.split("\n"))
    change = FlowChange(text="prompt changed", diff=f"@@ -1 +1 @@\n{diff}\n```\n</details>\n::error::x", is_prompt=True)
    text = render(build_verdict(changes=(change,)))
    assert set(tags(text)) <= OUR_HTML
    assert [token.type for token in tokens(text) if token.type in ("fence", "link_open", "image")] == ["fence"]
    assert "\n::error" not in text


def test_a_cut_inside_of_a_diff_closes_it_and_the_fold() -> None:
    change = FlowChange(text="prompt changed", diff="\n".join(["@@ -1 +1 @@", *["+line"] * 50]), is_prompt=True)
    text = render(build_verdict(changes=(change,)))
    cut = cut_at_line(text, text.index("+line") + 200)
    assert len(cut) <= text.index("+line") + 200
    assert {token.type for token in tokens(cut)} >= {"fence"}
    assert next(token.content for token in tokens(cut) if token.type == "fence").endswith("+line\n")
    assert tags(cut).count("<details>") == tags(cut).count("</details>")
