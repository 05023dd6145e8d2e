"""Every expected error and every exit code.

An error that a user can cause is a list of problems; each says what failed, where, what was found, what was expected
and what to do. `llmops.cli` is the one place that prints them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self


class ExitCode(enum.IntEnum):
    """The exit codes of every command; 1 is left to Python's own crashes."""

    PASS = 0
    """The gate passed, or the command is done."""
    USAGE = 2
    """The command line, the configuration or the state of the repository is wrong."""
    BUG = 3
    """An error of llmops itself."""
    REFUSED = 4
    """The backend, the model or the network refused or could not be reached."""
    TIMEOUT = 5
    """A deadline passed."""
    GATE_FAILED = 10
    """The gate failed: the candidate is worse than the limits allow."""
    INCONCLUSIVE = 11
    """The evidence does not decide, and the gate blocks on that."""
    INTERRUPTED = 130
    """Interrupted by the user; the same command continues."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong, in the words a user needs.

    Attributes:
        where: a place such as `config/experiments/qa.yaml:12: evaluators.accuracy.flow`; empty when there is none.
        what: what failed, one clause without a full stop.
        found: what was found there; never a secret's value.
        expected: what would have been right.
        fix: what to do; an imperative sentence or a command.
    """

    what: str
    where: str = ""
    found: str = ""
    expected: str = ""
    fix: str = ""

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        details = ((label, text) for label, text in (("found", self.found), ("expected", self.expected)) if text)
        lines = [head, *(f"  {label} {text}" for label, text in details)]
        if self.fix:
            lines.append(f"  {self.fix}")
        return "\n".join(lines)


class LlmopsError(Exception):
    """Base of all expected errors.

    Args:
        problems: at least one; all problems found in one go, in the order in which a reader meets them.
    """

    exit_code: ExitCode = ExitCode.BUG

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems: tuple[Problem, ...] = problems

    @classmethod
    def of(cls, what: str, *, where: str = "", found: str = "", expected: str = "", fix: str = "") -> Self:
        """Build the error from its single problem."""
        return cls(Problem(what=what, where=where, found=found, expected=expected, fix=fix))


class UsageError(LlmopsError):
    """The command line, the configuration or the repository is wrong: found before any line ran."""

    exit_code = ExitCode.USAGE


class BackendError(LlmopsError):
    """The backend, the model or the network refused or could not be reached."""

    exit_code = ExitCode.REFUSED


class TransientError(BackendError):
    """A call to the backend failed in a way that may pass; whether it took effect is not known."""


class LeaseHeldError(UsageError):
    """Someone else is changing the endpoint."""


class LeaseLostError(UsageError):
    """This driver may no longer change the endpoint; it stopped before its next write."""


class DeadlineError(LlmopsError):
    """A deadline passed before the work was done."""

    exit_code = ExitCode.TIMEOUT


def near_match(found: str, known: Iterable[str]) -> str:
    """Suggest the known name that is closest to what was found; empty when none is close."""
    import difflib

    matches = difflib.get_close_matches(found, list(known), n=1, cutoff=0.6)
    return f"did you mean '{matches[0]}'?" if matches else ""


_REPORT_ORDER = (
    ExitCode.INTERRUPTED,
    ExitCode.BUG,
    ExitCode.USAGE,
    ExitCode.REFUSED,
    ExitCode.TIMEOUT,
    ExitCode.GATE_FAILED,
    ExitCode.INCONCLUSIVE,
    ExitCode.PASS,
)


def first_to_report(codes: Iterable[ExitCode]) -> ExitCode:
    """Return the one exit code of a command that did several things: what is worst for the reader comes first."""
    found = set(codes)
    return next((code for code in _REPORT_ORDER if code in found), ExitCode.PASS)
