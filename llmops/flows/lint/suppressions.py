"""Comments that silence a finding: `# llmops: ignore[LL105] reason`, on its line or on the line above."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from llmops.errors import near_match
from llmops.flows.lint.finding import Finding, Place
from llmops.flows.lint.rules import RULES

_COMMENT = re.compile(r"(?:#|//)\s*llmops:\s*ignore\b(?:\s*\[(?P<codes>[^\]]*)\])?(?P<reason>[^\n]*)")
_NEVER = ("LL003", "LL004")


@dataclass(frozen=True, kw_only=True)
class Suppression:
    """One comment; `lines` are those whose findings it silences, none when it is not in order."""

    codes: frozenset[str]
    place: Place
    lines: tuple[int, ...]


def read_suppressions(text: str, shown: str) -> tuple[list[Suppression], list[Finding]]:
    """Find the suppressions of a file, and what is wrong with them."""
    suppressions: list[Suppression] = []
    findings: list[Finding] = []
    if "llmops:" not in text:
        return suppressions, findings
    for number, line in enumerate(text.splitlines(), start=1):
        match = _COMMENT.search(line)
        if match is None:
            continue
        place = Place(file=shown, line=number, column=match.start() + 1)
        codes = [code.strip() for code in (match["codes"] or "").split(",") if code.strip()]
        problem, fix = _judge(codes, match["reason"])
        if problem:
            findings.append(Finding(code="LL003", place=place, message=problem, fix=fix))
            continue
        stands_alone = not line[: match.start()].strip(" \t{%-")
        lines = (number, number + 1) if stands_alone else (number,)
        suppressions.append(Suppression(codes=frozenset(codes), place=place, lines=lines))
    return suppressions, findings


def apply_suppressions(
    findings: Iterable[Finding], read_text: Callable[[str], str | None], files: Collection[str]
) -> Iterator[Finding]:
    """Leave out what is suppressed, and add what is wrong with the suppressions.

    Args:
        read_text: file, relative to the project folder, to its text.
        files: further files to look through for suppressions that silence nothing.
    """
    found = list(findings)
    names = dict.fromkeys([finding.place.file for finding in found] + sorted(files))
    silenced: set[int] = set()
    added: list[Finding] = []
    for name in names:
        suppressions, problems = read_suppressions(read_text(name) or "", name)
        added += problems
        for suppression in suppressions:
            hit = {n for n, finding in enumerate(found) if _silences(suppression, finding)}
            silenced |= hit
            if not hit:
                codes = ", ".join(sorted(suppression.codes))
                added.append(Finding(code="LL004", place=suppression.place, message=f"there is no {codes} here"))
    yield from (finding for n, finding in enumerate(found) if n not in silenced)
    yield from added


def _silences(suppression: Suppression, finding: Finding) -> bool:
    return (
        finding.place.file == suppression.place.file
        and finding.place.line in suppression.lines
        and finding.code in suppression.codes
        and finding.code not in _NEVER
    )


def _judge(codes: list[str], reason: str) -> tuple[str, str]:
    if not codes:
        return "the suppression names no code", ""
    unknown = [code for code in codes if code not in RULES]
    if unknown:
        return f"there is no rule {unknown[0]}", near_match(unknown[0], RULES)
    if not reason.strip(" \t#}-:"):
        return "the suppression gives no reason", ""
    return "", ""
