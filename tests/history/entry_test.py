"""Lines of a history: written, read again, and left out when they are damaged."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from llmops.history.entry import entry_id, entry_of, read_entries, write_line
from tests.reports.histories import build_entry
from tests.reports.verdicts import failed_verdict, hostile_verdict


def test_a_line_that_was_written_is_read_as_it_was() -> None:
    entry = build_entry()
    read = read_entries([write_line(entry)])
    assert read == ([replace(entry, metrics=tuple(entry.metrics), limits=tuple(entry.limits))], 0)


def test_entries_are_read_oldest_first_from_all_files() -> None:
    texts = [write_line(build_entry(2)), f"{write_line(build_entry(3))}\n{write_line(build_entry(1))}\n"]
    assert [entry.id for entry in read_entries(texts).entries] == ["entry-1", "entry-2", "entry-3"]


def test_of_several_lines_with_one_id_the_last_one_counts() -> None:
    first, second = build_entry(1, value=0.5), build_entry(1, value=0.9)
    (found,) = read_entries([f"{write_line(first)}\n{write_line(second)}\n"]).entries
    assert found.outcome == "pass"


@pytest.mark.parametrize(
    "damage",
    [
        "{",
        "[]",
        "null",
        "{}",
        '{"kind":"history","schema_version":2}',
        '{"kind":"history","schema_version":1}',
        "[" * 9000,
    ],
)
def test_a_line_that_cannot_be_read_is_counted_and_left_out(damage: str) -> None:
    found = read_entries([f"{write_line(build_entry(1))}\n{damage}\n"])
    assert (len(found.entries), found.damaged) == (1, 1)


def test_a_value_of_another_type_is_damage() -> None:
    document = {**json.loads(write_line(build_entry())), "rows": "many"}
    assert read_entries([json.dumps(document)]).damaged == 1


def test_a_line_holds_numbers_and_names_and_nothing_of_rows() -> None:
    verdict = failed_verdict()
    line = write_line(entry_of(verdict, "flow", occasion="one", link=""))
    assert "apps.example" in str(verdict.flipped)
    assert "apps.example" not in line


def test_names_of_any_kind_survive() -> None:
    entry = entry_of(hostile_verdict(), "flow", occasion="one", link="")
    (read,) = read_entries([write_line(entry)]).entries
    assert "\n" not in write_line(entry)
    assert read.metrics == tuple(entry.metrics)


def test_an_entry_says_what_the_verdict_says() -> None:
    verdict = failed_verdict()
    entry = entry_of(verdict, "endpoint", occasion="one", version="7", link="https://ci.example/1")
    assert (entry.outcome, entry.exit_code, entry.version) == (verdict.outcome, verdict.exit_code, "7")
    assert [one.value for one in entry.metrics] == [metric.value for metric in verdict.candidate.metrics]
    assert [one.outcome for one in entry.limits] == [finding.outcome for finding in verdict.findings]


def test_the_same_measurement_at_the_same_occasion_has_one_name() -> None:
    base = ("tiny", "dev", "flow", "rows", "monday")
    assert entry_id(*base) == entry_id(*base)  # type: ignore[arg-type]
    others = [("tiny", "dev", "endpoint", "rows", "monday"), ("tiny", "dev", "flow", "rows", "tuesday")]
    assert len({entry_id(*one) for one in [base, *others]}) == 3  # type: ignore[arg-type]
