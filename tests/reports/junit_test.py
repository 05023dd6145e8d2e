"""A verdict as JUnit XML, read by a reader that is not ours."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET

import junitparser
import pytest

from llmops.records import VerdictRecord
from llmops.reports.junit import NAME_LIMIT, render
from tests.reports.verdicts import (
    build_evaluation,
    build_finding,
    build_row,
    build_side,
    build_verdict,
    failed_verdict,
    hostile_verdict,
)


def read(text: str) -> ET.Element:
    """Parse XML as strictly as the standard library does."""
    return ET.fromstring(text)  # noqa: S314 - our own output


def results(verdict: VerdictRecord) -> dict[str, dict[str, list[str]]]:
    """Give suite name to test name to the kinds of results."""
    suites = junitparser.JUnitXml.fromstring(render(verdict).encode())
    return {suite.name: {case.name: [type(r).__name__ for r in case.result] for case in suite} for suite in suites}


def test_limits_stand_with_their_evaluator_and_everything_else_in_the_gate() -> None:
    assert results(failed_verdict()) == {
        "accuracy": {
            "accuracy: min 0.8": ["Failure"],
            "accuracy: max_regression 0.03": ["Failure"],
            "row 9": ["Error"],
        },
        "gate": {"max_failed 0": ["Failure"], "max_unmeasured 0": ["Error"], "row 8": ["Failure"]},
    }


def test_a_passed_limit_is_a_passed_test() -> None:
    assert results(build_verdict()) == {"accuracy": {"accuracy: min 0.8": []}, "gate": {}}


def test_a_limit_that_was_not_judged_is_a_skipped_test() -> None:
    finding = build_finding(outcome="skipped", message="there is no baseline")
    assert results(build_verdict(findings=(finding,)))["accuracy"] == {"accuracy: min 0.8": ["Skipped"]}


def test_a_limit_on_a_metric_that_nobody_reported_is_in_the_gate() -> None:
    finding = build_finding(metric="groundedness", outcome="inconclusive")
    assert results(build_verdict(findings=(finding,)))["gate"] == {"groundedness: min 0.8": ["Error"]}


@pytest.mark.parametrize("verdict", [build_verdict(), failed_verdict(), hostile_verdict()])
def test_the_counts_are_those_of_the_cases(verdict: VerdictRecord) -> None:
    root = read(render(verdict))
    for element in (root, *root.iter("testsuite")):
        counted = [len(list(element.iter(tag))) for tag in ("testcase", "failure", "error", "skipped")]
        assert [int(element.attrib[name]) for name in ("tests", "failures", "errors", "skipped")] == counted


def test_hostile_text_is_text() -> None:
    root = read(render(hostile_verdict()))
    assert {element.tag for element in root.iter()} <= {
        *("testsuites", "testsuite", "properties", "property", "testcase", "failure", "error"),
    }
    assert "##vso[" not in render(hostile_verdict())


def test_a_row_that_several_evaluators_could_not_score_is_in_the_gate() -> None:
    row = build_row(4, build_side(status="unmeasured", error="the judge is gone"))
    evaluation = dataclasses.replace(build_evaluation(), evaluators={"accuracy": "sha256:1", "style": "sha256:2"})
    suites = results(build_verdict(candidate=evaluation, worst=(row,)))
    assert (suites["gate"], suites["style"]) == ({"row 4": ["Error"]}, {})


def test_names_are_short_and_unique_in_their_suite() -> None:
    findings = [build_finding(metric="m" * 900, outcome="fail")] * 3
    suite = read(render(build_verdict(experiment="e" * 900, findings=tuple(findings))))[1]
    names = [case.attrib["name"] for case in suite.iter("testcase")]
    assert len(set(names)) == 3
    assert max(len(text) for case in suite.iter("testcase") for text in case.attrib.values()) <= NAME_LIMIT


def test_rows_that_are_counted_and_not_listed_are_not_lost() -> None:
    cases = results(failed_verdict(worst=(), flipped=()))["gate"]
    assert cases["1 more failed row"] == ["Failure"]
    assert cases["1 more unmeasured row"] == ["Error"]


def test_a_row_that_failed_says_why_with_its_inputs_and_time() -> None:
    row = build_row(4, build_side(status="failed", error="KeyError: 'url'"))
    suite = junitparser.JUnitXml.fromstring(render(build_verdict(worst=(row,))).encode())
    case = next(case for part in suite for case in part if case.name == "row 4")
    assert (case.time, case.result[0].message) == (0.42, "failed: KeyError: 'url'")
    assert case.result[0].text == "failed: KeyError: 'url'\nurl: https://apps.example/4"


def test_the_suite_says_what_ran_and_that_the_model_was_a_stand_in() -> None:
    suite = read(render(failed_verdict()))[0]
    facts = {element.attrib["name"]: element.attrib["value"] for element in suite.iter("property")}
    assert facts["model"] == "stand-in model, not a real model"
    assert facts["flow"] == "flows/web-classification sha256:" + "3f" * 32
    assert suite.attrib["timestamp"] == "2026-01-05T10:00:08"
