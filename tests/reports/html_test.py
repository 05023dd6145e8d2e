"""A verdict as an HTML page: its text, and what a browser makes of it."""

from __future__ import annotations

import dataclasses
import math
import re
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from llmops.core.distribution import Distribution
from llmops.records import PastValue, VerdictRecord
from llmops.reports.html import render
from tests.reports.conftest import Browse
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

SCRIPT = re.compile(r"<script>.*</script>", re.DOTALL)
VOID = {"meta", "input", "line", "circle", "path", "rect"}


MEASURING_PAGE = """<!DOCTYPE html><title></title><iframe style="width:WIDTHpx;height:900px" srcdoc="PAGE"></iframe>
<script>
addEventListener("load", () => {
  const root = document.querySelector("iframe").contentDocument;
  root.querySelectorAll("details").forEach((part) => { part.open = true; });
  const { scrollWidth, clientWidth } = root.documentElement;
  document.title = `scrolls ${scrollWidth - clientWidth} of ${clientWidth}`;
});
</script>"""


class Outline(HTMLParser):
    """Collects the elements of a page and checks that they nest."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in VOID or self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def shown_rows(dom: str) -> list[int]:
    """Give the numbers of the rows that the page shows, in its order."""
    cards = (attributes for attributes in Outline(dom).all("details") if "data-row" in attributes)
    return [int(card["data-row"] or "") for card in cards if "hidden" not in card]


@pytest.mark.parametrize("verdict", [build_verdict(), failed_verdict(), hostile_verdict()])
def test_every_element_is_closed_where_it_was_opened(verdict: VerdictRecord) -> None:
    assert Outline(render(verdict)).open == []


@pytest.mark.parametrize("verdict", [build_verdict(), failed_verdict(), hostile_verdict()])
def test_the_page_loads_nothing_and_has_one_script_without_data(verdict: VerdictRecord) -> None:
    page = Outline(render(verdict))
    attributes = [name for _, given in page.elements for name in given]
    assert not {"src", "srcset", "style", "action", "formaction", "data"} & set(attributes)
    assert not [name for name in attributes if name.startswith("on")]
    ours = {"#rows", "#findings", "#metrics", "#ran"}
    assert ours <= {link["href"] for link in page.all("a")} <= {*ours, "#scores", "#past"}
    assert len(page.all("script")) == len(page.all("style")) == 1
    assert SCRIPT.findall(render(verdict)) == SCRIPT.findall(render(build_verdict()))


def test_the_outcome_is_in_words_in_the_title_and_in_the_heading() -> None:
    text = render(failed_verdict())
    assert "<title>web-classification: failed</title>" in text
    assert "<h1><bdi>web-classification</bdi>: failed</h1>" in text


def test_a_stand_in_is_labelled_and_a_real_model_is_not() -> None:
    assert "<strong>Stand-in model, not a real model.</strong>" in render(failed_verdict())
    assert "Stand-in model" not in render(build_verdict())


def test_headings_go_down_one_level_at_a_time_and_tables_have_captions() -> None:
    page = Outline(render(failed_verdict()))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert set(levels[1:]) == {2}
    assert len(page.all("caption")) == len(page.all("table"))
    assert all("scope" in head for head in page.all("th"))
    assert len(page.all("main")) == 1


def test_ids_are_unique_and_labels_point_at_fields() -> None:
    page = Outline(render(failed_verdict()))
    ids = [given["id"] for _, given in page.elements if "id" in given]
    assert len(set(ids)) == len(ids)
    assert {given[name] for _, given in page.elements for name in ("for", "aria-labelledby") if name in given} <= set(
        ids
    )


def test_a_flipped_row_shows_inputs_both_outputs_and_scores_with_the_change_marked() -> None:
    text = render(failed_verdict())
    card = text[text.index('id="row-12"') : text.index('id="row-3"')]
    for part in ("https://apps.example/12", "<mark>App</mark>", "<mark>Movie</mark>", "<mark>0</mark>", "changed"):
        assert part in card


def test_a_chart_says_in_words_what_it_draws() -> None:
    label = "candidate 0.65, 95 % interval 0.433 to 0.819; baseline 0.9, 95 % interval 0.699 to 0.972"
    assert f'aria-label="{label}; limit min 0.8 at 0.8; limit max_regression 0.03 at 0.87"' in render(failed_verdict())


def test_large_answers_do_not_make_a_large_page() -> None:
    side = build_side("a" * 1_000_000)
    rows = tuple(build_row(at, side, build_side("b" * 1_000_000), change="regressed") for at in range(50))
    text = render(failed_verdict(flipped=rows, worst=()))
    assert len(text) < 5_000_000
    assert "994000 more characters in verdict.json" in text


def test_flips_that_are_not_listed_are_counted() -> None:
    assert "37 more rows flipped and are not listed." in render(failed_verdict(regressed=40))


def test_without_a_baseline_nothing_can_be_filtered_by_change() -> None:
    text = render(build_verdict(worst=(build_row(1, build_side("App", 0.0)),)))
    assert [field["value"] for field in Outline(text).all("input") if field["type"] == "radio"] == [
        "all",
        "failed",
        "unmeasured",
    ]
    assert "accuracy.grade: 0" in text


def test_a_limit_that_was_not_judged_says_so() -> None:
    finding = build_finding(limit="max_regression 0.03", outcome="skipped", message="there is no baseline")
    text = render(build_verdict(findings=(finding,)))
    assert "not judged</span>" in text
    assert '<bdi>max_regression 0.03</bdi> <span class="outcome-word">not judged</span>' in text


def test_no_limit_and_no_rows_are_said_and_not_left_blank() -> None:
    text = render(build_verdict(findings=(), candidate=build_evaluation(dataclasses.replace(ACCURACY, value=None))))
    assert "<p>No limit was judged.</p>" in text
    assert "Not reported as a number." in text
    assert "<p>No row flipped, and none stands out.</p>" in text


@pytest.mark.chromium
def test_hostile_text_does_not_run_in_a_browser(browse: Browse, tmp_path: Path) -> None:
    page = Outline(browse(render(hostile_verdict())))
    assert len(page.all("script")) == 1
    assert not {"img", "iframe", "object", "link"} & {tag for tag, _ in page.elements}
    dom = browse(render(hostile_verdict()))
    assert "<title>pwned" not in dom
    assert "CONSOLE" not in (tmp_path / "console.log").read_text(encoding="utf-8")


@pytest.mark.chromium
def test_rows_are_filtered_by_change_text_and_status_and_sorted(browse: Browse) -> None:
    html = render(failed_verdict())
    assert shown_rows(browse(html)) == [8, 12, 3, 17, 9, 5]
    assert shown_rows(browse(html, fragment="change=regressed&sort=row")) == [3, 8, 12, 17]
    assert shown_rows(browse(html, fragment="change=unmeasured")) == [9]
    dom = browse(html, fragment="text=academic")
    assert shown_rows(dom) == [17]
    assert "1 of 6 rows shown" in dom


@pytest.mark.chromium
def test_an_unknown_fragment_hides_nothing(browse: Browse) -> None:
    assert shown_rows(browse(render(failed_verdict()), fragment="change=<b>&sort=constructor")) == [8, 12, 3, 17, 9, 5]


@pytest.mark.chromium
def test_a_link_to_a_row_opens_it(browse: Browse) -> None:
    dom = browse(render(failed_verdict()), fragment="row-17")
    assert [card["data-row"] for card in Outline(dom).all("details") if "open" in card] == ["17"]


@pytest.mark.chromium
def test_without_scripts_every_row_is_there_and_no_dead_control_is(browse: Browse) -> None:
    html = render(failed_verdict())
    dom = browse(SCRIPT.sub("", html))
    assert shown_rows(dom) == [8, 12, 3, 17, 9, 5]
    assert "hidden" in Outline(dom).all("form")[0]


@pytest.mark.chromium
@pytest.mark.parametrize("width", [360, 800, 1280])
def test_the_page_never_scrolls_sideways(browse: Browse, width: int) -> None:
    long = build_row(1, build_side("x" * 400), build_side("日" * 400), change="regressed", inputs={"k" * 90: "y" * 900})
    html = render(failed_verdict(experiment="e" * 120, flipped=(long,), findings=(build_finding(message="m" * 300),)))
    frame = MEASURING_PAGE.replace("WIDTH", str(width)).replace("PAGE", escape(html))
    assert f"<title>scrolls 0 of {width}</title>" in browse(frame, "--hide-scrollbars")


@pytest.mark.chromium
def test_the_page_prints(browse: Browse, tmp_path: Path) -> None:
    browse(render(failed_verdict()), f"--print-to-pdf={tmp_path / 'report.pdf'}", "--no-pdf-header-footer")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")


def test_every_hostile_text_is_still_there_to_be_read() -> None:
    text = render(hostile_verdict())
    assert all(f'data-row="{number}"' in text for number in range(len(HOSTILE)))
    assert "[U+202E]nihton" not in text
    assert "[U+202E]gnihton[U+202C]" in text


def test_how_scores_are_spread_is_drawn_said_in_words_and_listed() -> None:
    text = render(failed_verdict())
    assert 'aria-label="accuracy.grade, rows by score; 0: 6, baseline 2; 1: 12, baseline 18"' in text
    assert "<title>baseline, 1: 18 rows</title>" in text
    assert '<tr><th scope="row">1</th><td class="num">12</td><td class="num">18</td></tr>' in text
    assert "2 rows without a score" in text


def test_the_main_branch_over_time_ends_with_what_was_measured_now() -> None:
    text = render(failed_verdict())
    assert "accuracy.accuracy over 27 evaluations, 2025-12-05 to 2026-01-05; last 0.65" in text
    assert "limit min 0.8; candidate from 2026-01-05 on" in text
    assert "That was another environment than this one." in text


def test_without_scores_and_without_a_history_there_is_no_empty_section() -> None:
    text = render(build_verdict())
    assert 'id="scores"' not in text
    assert 'id="past"' not in text


def test_what_a_line_took_and_the_run_in_the_cloud_are_shown() -> None:
    ours = build_evaluation()
    link = "https://ml.azure.com/runs/one?wsid=/subscriptions/1"
    run = dataclasses.replace(ours.run, latency_s={"p50": 0.5, "p95": 1.25}, link=link)
    text = render(build_verdict(candidate=dataclasses.replace(ours, run=run)))
    assert "<dt>Latency p95 per line</dt><dd>1.25 s</dd>" in text
    assert f'<a href="{link}" rel="noreferrer">The run in the cloud</a>' in text


def test_a_comparison_by_numbers_alone_counts_no_rows() -> None:
    text = render(failed_verdict(compares_rows=False, flipped=()))
    assert "<dt>Regressed</dt>" not in text
    assert "Against origin/main: numbers only, no rows." in text


@pytest.mark.parametrize(
    "spread",
    [
        Distribution(name="x", edges=(0.0, 1.0), is_discrete=True, candidate=(1, 2, 3)),
        Distribution(name="x", edges=(0.0, 1.0), is_discrete=False, candidate=(1, 2), baseline=(1,)),
        Distribution(name="x", edges=(), is_discrete=True, candidate=()),
        Distribution(name="x", edges=(0.0,) * 9_999, is_discrete=True, candidate=(1,) * 9_999),
        Distribution(name="x", edges=(0.0,), is_discrete=True, candidate=(-1,)),
        Distribution(name="x", edges=(0.0,), is_discrete=True, candidate=(10**400,)),
    ],
)
def test_counts_that_do_not_belong_together_are_left_out(spread: Distribution) -> None:
    assert 'id="scores"' not in render(build_verdict(distributions=(spread,)))


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.7e308, 1.7e308, 1e300])
def test_a_past_of_any_size_breaks_no_page(value: float) -> None:
    past = [PastValue(metric="accuracy.accuracy", value=one, at="x", interval=(-value, value)) for one in (value, 0.5)]
    text = render(failed_verdict(past=past))
    assert "nan" not in text[text.index('id="past"') :]
