"""What a rule finds, and where."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from llmops.errors import Problem
from llmops.flows.definition import Definition

Severity = Literal["error", "warning", "note"]

_PLACE = re.compile(r"^(?P<file>.*?):(?P<line>\d+)(?::(?P<column>\d+))?(?:: ?(?P<rest>.*))?$", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place in a file of the project.

    Attributes:
        file: relative to the project folder, with forward slashes.
        line, column: from 1.
    """

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a rule found.

    Attributes:
        code: the rule, for instance `LL101`.
        message: one clause without a full stop: what is wrong, with the names that it is about.
        fix: what to do here; empty when the rule's own fix says it.
    """

    code: str
    place: Place
    message: str
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What one code means.

    Attributes:
        code: for instance `LL101`; never given to another rule.
        title: one line without a full stop.
        explanation: why it matters, for a person who meets it for the first time.
        fix: what to do, an imperative sentence.
    """

    code: str
    severity: Severity
    title: str
    explanation: str
    fix: str


def place_of(definition: Definition, *keys: str | int) -> Place:
    """Find the place of a value in a definition."""
    line, column = definition.position(*keys)
    return Place(file=definition.where, line=line, column=column)


def from_problem(code: str, problem: Problem, file: str) -> Finding:
    """Turn a problem that was found while reading into a finding.

    Args:
        file: where it is said to be when the problem names no file and line.
    """
    match = _PLACE.match(problem.where)
    parts = [problem.what, f"found {problem.found}" if problem.found else ""]
    parts.append(f"expected {problem.expected}" if problem.expected else "")
    if match is None:
        place, inside = Place(file=problem.where if "." in problem.where else file), ""
    else:
        place = Place(file=match["file"], line=int(match["line"]), column=int(match["column"] or 1))
        inside = match["rest"] or ""
    message = "; ".join(part for part in parts if part)
    return Finding(code=code, place=place, message=f"{inside}: {message}" if inside else message, fix=problem.fix)
