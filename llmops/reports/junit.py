"""A verdict as JUnit XML, for the test views of GitHub and Azure Pipelines."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from llmops.core.metrics import Finding, FindingOutcome
from llmops.records import RowComparison, VerdictRecord
from llmops.reports.numbers import count
from llmops.reports.plain_text import defuse_log_commands, reveal, shorten, show, show_line
from llmops.reports.rows import describe_side
from llmops.reports.summary import STAND_IN_LABEL, describe_commit, metric_of, name_limit, notes_of, rows_to_show, say

NAME_LIMIT = 512
"""Azure Pipelines refuses longer names of tests."""

_MESSAGE_LIMIT = 1_000
_TEXT_LIMIT = 4_000
Result = Literal["failure", "error", "skipped"]
_RESULTS: dict[FindingOutcome, Result | None] = {
    "pass": None,
    "fail": "failure",
    "inconclusive": "error",
    "skipped": "skipped",
}
_UTC_SECONDS = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|\+00:00)")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One test of a suite; `result` is the element that says why it did not pass."""

    name: str
    result: Result | None = None
    kind: str = ""
    message: str = ""
    text: str = ""
    duration_s: float = 0.0


def render(verdict: VerdictRecord) -> str:
    """Write a verdict as JUnit XML.

    There is a suite per evaluator with the limits on its metrics and the rows that it alone could not score, and a
    suite `gate` with all other limits and rows. A limit that fails and a row that failed are failures; an inconclusive
    limit and an unmeasured row are errors. Rows are those that the record lists.
    """
    suites: dict[str, list[Case]] = {name: [] for name in (*verdict.candidate.evaluators, "gate")}
    for finding in verdict.findings:
        metric = metric_of(finding, verdict.candidate)
        suites.get(metric.evaluator if metric else "gate", suites["gate"]).append(_finding_case(finding))
    for row in rows_to_show(verdict):
        if row.candidate.status != "scored":
            suites[_suite_of(row, tuple(verdict.candidate.evaluators))].append(_row_case(row))
    suites["gate"].extend(_unlisted_cases(verdict))
    all_cases = [case for cases in suites.values() for case in cases]
    root = ET.Element("testsuites", {"name": _name(f"llmops {verdict.experiment}"), **_counts(all_cases)})
    for name, cases in suites.items():
        root.append(_suite_element(name, cases, verdict))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite_of(row: RowComparison, evaluators: Sequence[str]) -> str:
    """Name the evaluator that alone could not score the row; `gate` when the flow failed or several could not."""
    silent = [name for name in evaluators if not any(score.startswith(f"{name}.") for score in row.candidate.scores)]
    return silent[0] if row.candidate.status == "unmeasured" and len(silent) == 1 else "gate"


def _finding_case(finding: Finding) -> Case:
    warns = "" if finding.blocks else " (does not block)"
    return Case(
        name=name_limit(finding),
        result=_RESULTS[finding.outcome],
        kind=finding.outcome,
        message=say(finding) + warns,
        text=say(finding) + warns,
    )


def _row_case(row: RowComparison) -> Case:
    view = row.candidate
    inputs = (f"{name}: {shorten(show(value), 500)}" for name, value in row.inputs.items())
    return Case(
        name=f"row {row.row}",
        result="failure" if view.status == "failed" else "error",
        kind=view.status,
        message=describe_side(view),
        text="\n".join([describe_side(view), *inputs]),
        duration_s=view.duration_s,
    )


def _unlisted_cases(verdict: VerdictRecord) -> Iterable[Case]:
    """Stand in for the failed and unmeasured rows that the record counts and does not list."""
    listed = Counter(row.candidate.status for row in rows_to_show(verdict))
    failed, unmeasured = (
        verdict.candidate.failed - listed["failed"],
        verdict.candidate.unmeasured - listed["unmeasured"],
    )
    if failed > 0:
        name = count(failed, "more failed row")
        yield Case(name=name, result="failure", kind="failed", message=f"{name}, not listed")
    if unmeasured > 0:
        name = count(unmeasured, "more unmeasured row")
        yield Case(name=name, result="error", kind="unmeasured", message=f"{name}, not listed")


def _suite_element(name: str, cases: Sequence[Case], verdict: VerdictRecord) -> ET.Element:
    times = {"time": f"{sum(case.duration_s for case in cases):.3f}"}
    stamp = _UTC_SECONDS.fullmatch(verdict.created_at)
    if stamp:
        times["timestamp"] = stamp[1]
    suite = ET.Element("testsuite", {"name": _name(name), **_counts(cases), **times})
    properties = ET.SubElement(suite, "properties")
    for key, value in _facts(verdict):
        ET.SubElement(properties, "property", name=key, value=_attribute(value))
    class_name = _name(f"llmops.{verdict.experiment}.{name}")
    for case, case_name in zip(cases, _unique([case.name for case in cases]), strict=True):
        suite.append(_case_element(case, case_name, class_name))
    return suite


def _case_element(case: Case, name: str, class_name: str) -> ET.Element:
    element = ET.Element("testcase", name=name, classname=class_name, time=f"{case.duration_s:.3f}")
    if case.result:
        reason = ET.SubElement(element, case.result, type=case.kind, message=_attribute(case.message))
        reason.text = defuse_log_commands(reveal(shorten(case.text, _TEXT_LIMIT)))
    return element


def _facts(verdict: VerdictRecord) -> Iterable[tuple[str, str]]:
    run = verdict.candidate.run
    yield "outcome", verdict.outcome
    yield "environment", verdict.environment
    yield "flow", f"{run.flow.path} {run.flow.digest}"
    yield "commit", describe_commit(run.flow)
    yield "dataset", f"{run.dataset.name} {run.dataset.digest}"
    yield "evidence", verdict.evidence
    if verdict.stand_in:
        yield "model", STAND_IN_LABEL
    for note in notes_of(verdict):
        yield "note", note


def _counts(cases: Iterable[Case]) -> dict[str, str]:
    tally = Counter(case.result or "passed" for case in cases)
    return {
        "tests": str(tally.total()),
        "failures": str(tally["failure"]),
        "errors": str(tally["error"]),
        "skipped": str(tally["skipped"]),
    }


def _unique(names: Sequence[str]) -> Iterable[str]:
    """Give each name once: viewers merge tests of the same name."""
    seen: Counter[str] = Counter()
    for name in names:
        short = _name(name, NAME_LIMIT - 8)
        seen[short] += 1
        yield short if seen[short] == 1 else f"{short} ({seen[short]})"


def _name(text: str, limit: int = NAME_LIMIT) -> str:
    return defuse_log_commands(show_line(text, limit - 8))


def _attribute(text: str) -> str:
    return defuse_log_commands(show_line(text, _MESSAGE_LIMIT))
