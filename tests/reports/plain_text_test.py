"""Text made fit to be shown."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.reports.plain_text import defuse_log_commands, defuse_output, reveal, shorten, show, show_line
from tests.reports.hostile import HOSTILE

XML_TEXT = re.compile("[\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")
anything = st.text(st.characters(exclude_categories=()))


@given(anything)
def test_revealed_text_can_be_encoded_and_stands_in_xml(text: str) -> None:
    revealed = reveal(text)
    assert revealed.encode("utf-8").decode("utf-8") == revealed
    assert XML_TEXT.fullmatch(revealed)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\x00b", "a[U+0000]b"),
        ("\x1b[31m", "[U+001B][31m"),
        ("\u202eabc\u2069", "[U+202E]abc[U+2069]"),
        ("\ud83d", "[U+D83D]"),
        ("a\r\nb\rc\td", "a\nb\nc\td"),
        ("👩‍👧 café नमस्ते", "👩‍👧 café नमस्ते"),
    ],
)
def test_what_cannot_be_seen_is_named_and_the_rest_stays(text: str, expected: str) -> None:
    assert reveal(text) == expected


def test_nothing_that_a_runner_obeys_is_left() -> None:
    for line in defuse_log_commands("\n".join(HOSTILE)).split("\n"):
        assert not line.lstrip().startswith("::")
        assert not re.search(r"##(vso)?\[", line)


@pytest.mark.parametrize(
    "text", ["\r::error::x", "a\r\n \t::error::x", "\u2003::error::x", "##VSO[task.x]", "a ##[error]"]
)
def test_a_runner_ends_lines_and_reads_commands_in_its_own_way(text: str) -> None:
    for line in re.split("[\r\n]", defuse_log_commands(text)):
        assert not line.lstrip().startswith("::")
        assert not re.search(r"##(vso)?\[", line, re.IGNORECASE)


@pytest.mark.parametrize("indent", [None, 2])
def test_a_document_for_machines_is_defused_and_means_the_same(indent: int | None) -> None:
    document = {"answers": [*HOSTILE, "##vso[task.setvariable variable=x]y", "::error::x"]}
    for ensure_ascii in (True, False):
        written = defuse_output(json.dumps(document, indent=indent, ensure_ascii=ensure_ascii))
        assert json.loads(written) == document
        assert not re.search(r"##(vso)?\[", written)
        assert not [line for line in re.split("[\r\n]", written) if line.lstrip().startswith("::")]


def test_a_text_that_only_begins_like_a_document_is_defused_as_text() -> None:
    assert defuse_output("[x]\n::error::x ##[y]") == "[x]\n: :error::x # #[y]"


def test_ordinary_text_is_not_touched_by_defusing() -> None:
    text = "## Title\nstd::vector, a::b, # comment [x]"
    assert defuse_log_commands(text) == text


def test_a_value_on_one_line_is_folded_cut_and_never_empty() -> None:
    assert show_line("a\n  b\tc", 40) == "a b c"
    assert show_line("x" * 50, 10) == "x" * 9 + "…"
    assert show_line(" \n", 10) == '""'


def test_values_other_than_text_are_written_as_json() -> None:
    assert show({"a": [1, True, None, "ü"]}) == '{"a": [1, true, null, "ü"]}'
    assert show("ü") == "ü"


def test_only_what_is_longer_is_cut() -> None:
    assert shorten("abc", 3) == "abc"
    assert len(show_line(list(range(100_000)), 40)) == 40
