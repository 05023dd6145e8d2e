"""The history as an HTML page: its text, and what a browser makes of it."""

from __future__ import annotations

import dataclasses
import re
from html import escape

import pytest

from llmops.history.entry import MetricPoint
from llmops.reports.history_page import ENTRIES_DRAWN, ENTRIES_LISTED, render
from tests.reports.conftest import Browse
from tests.reports.histories import build_entry, build_history, error_entry
from tests.reports.hostile import HOSTILE
from tests.reports.html_test import MEASURING_PAGE, Outline


def test_every_element_is_closed_and_the_page_loads_nothing() -> None:
    page = Outline(render(build_history()))
    attributes = {name for _, given in page.elements for name in given}
    assert page.open == []
    assert not {"src", "srcset", "style", "action", "formaction", "data"} & attributes
    assert not [name for name in attributes if name.startswith("on")]
    assert len(page.all("script")) == len(page.all("style")) == 1


def test_the_heading_counts_what_is_so_now() -> None:
    assert "<h1>Scheduled evaluations: 1 failed, 1 passed</h1>" in render(build_history())
    assert "Nothing was measured yet." in render([])


def test_each_series_says_since_when_it_is_as_it_is() -> None:
    text = render(build_history(60))
    assert "failed since 2026-08-26 03:17 UTC (4 evaluations)" in text
    assert "<li><bdi>accuracy min 0.8: 0.7819</bdi></li>" in text


def test_what_fails_comes_first() -> None:
    text = render([build_entry(1, experiment="aaa"), build_entry(1, 0.5, id="other", experiment="zzz")])
    assert text.index('href="#group-1"') < text.index('href="#group-0"')


def test_a_night_without_a_verdict_is_in_the_table_and_not_in_the_plots() -> None:
    text = render([build_entry(1), error_entry(2), build_entry(3)])
    assert "accuracy.accuracy over 2 evaluations" in text
    assert "the endpoint answers nobody" in text


def test_a_new_version_and_other_rows_are_marked() -> None:
    rows = dataclasses.replace(build_entry().dataset, digest="sha256:other")
    text = render([build_entry(1), build_entry(2, version="4"), build_entry(3, version="4", dataset=rows)])
    assert re.findall(r'class="change-label"[^>]*>([^<]+)<', text)[:2] == ["version 4", "other rows"]


def test_a_long_history_makes_no_large_page() -> None:
    entries = [build_entry(day) for day in range(2_000)]
    text = render(entries)
    assert len(text) < 1_000_000
    assert f"accuracy.accuracy over {ENTRIES_DRAWN} evaluations" in text
    assert f"{2_000 - ENTRIES_LISTED} older ones are in the files of the history." in text


def test_lines_that_could_not_be_read_are_counted() -> None:
    assert "2 lines of the history could not be read and are left out." in render([build_entry()], damaged=2)


@pytest.mark.chromium
def test_hostile_names_are_text_and_run_nothing(browse: Browse) -> None:
    metrics = [MetricPoint(evaluator=text, name=text, value=0.5, n=1) for text in HOSTILE]
    entries = [build_entry(at, experiment=text, metrics=metrics, error=text) for at, text in enumerate(HOSTILE)]
    text = render(entries)
    page = Outline(browse(text))
    assert "<title>Scheduled evaluations: " in browse(text)
    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert escape("<script>") in text


@pytest.mark.chromium
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_scrolls_sideways(browse: Browse, width: int) -> None:
    long_name = dataclasses.replace(build_entry(99), experiment="x" * 120, id="long", error="y" * 300)
    page = escape(render([*build_history(), long_name]), quote=True)
    dom = browse(MEASURING_PAGE.replace("WIDTH", str(width)).replace("PAGE", page), "--window-size=1400,900")
    assert re.search(r"<title>scrolls (-?\d+) of \d+</title>", dom).group(1) == "0"  # type: ignore[union-attr]


@pytest.mark.chromium
def test_folded_tables_are_opened_for_printing(browse: Browse) -> None:
    probe = '<script>dispatchEvent(new Event("beforeprint"));</script></body>'
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", render(build_history()))
    dom = browse(page.replace("</body>", probe))
    folded = Outline(dom).all("details")
    assert folded
    assert all("open" in one for one in folded)
