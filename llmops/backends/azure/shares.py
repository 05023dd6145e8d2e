"""One command's budget among jobs that cannot see what the others spend: what each is given, and what is left."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from llmops.config.model import Budget
from llmops.records import ModelCalls

NO_LIMIT = Budget()
NOTHING = Budget(usd=0.0, tokens=0)

_MICRO = 1_000_000
"""Dollars are counted in millionths, as whole numbers: shares rounded down never add up to more than there was."""


def is_limited(budget: Budget) -> bool:
    """Tell whether there is anything to keep to."""
    return budget.tokens is not None or budget.usd is not None


def is_spent(budget: Budget) -> bool:
    """Tell whether no call may be made."""
    return budget.tokens == 0 or budget.usd == 0


def divide(budget: Budget, weights: Sequence[int]) -> list[Budget]:
    """Give each of several its part, rounded down.

    Args:
        budget: what there is; no limit stays none.
        weights: S whole numbers, for instance of lines.

    Returns:
        S shares, in order, which add up to the budget at most.
    """
    total = max(sum(weights), 1)
    return [
        Budget(
            tokens=None if budget.tokens is None else budget.tokens * weight // total,
            usd=None if budget.usd is None else _floor(budget.usd) * weight // total / _MICRO,
        )
        for weight in weights
    ]


def left_of(budget: Budget, taken: Iterable[Budget]) -> Budget:
    """Return what is left when others have taken theirs; after one that took without a limit, nothing is."""
    every = list(taken)
    tokens, usd = [one.tokens for one in every], [one.usd for one in every]
    return Budget(
        tokens=None if budget.tokens is None else _rest(budget.tokens, tokens),
        usd=None
        if budget.usd is None
        else _rest(_floor(budget.usd), [None if one is None else _ceil(one) for one in usd]) / _MICRO,
    )


def add(parts: Iterable[Budget]) -> Budget:
    """Return what several may spend, or have spent, together; what has no limit for one has none for all."""
    every = list(parts)
    tokens, usd = [one.tokens for one in every], [one.usd for one in every]
    return Budget(
        tokens=None if None in tokens else sum(one or 0 for one in tokens),
        usd=None if None in usd else sum(_ceil(one or 0.0) for one in usd) / _MICRO,
    )


def spent_of(calls: ModelCalls | None, share: Budget) -> Budget:
    """Return what a job spent: what its calls were counted at, and the whole share where that is not known.

    Args:
        calls: None when no call could be made.
        share: what it was given.
    """
    if calls is None:
        return NOTHING
    tokens: int | None = calls.spent_tokens
    if calls.uncounted:
        tokens = None if share.tokens is None else max(share.tokens, calls.spent_tokens)
    return Budget(tokens=tokens, usd=share.usd if calls.spent_usd is None else calls.spent_usd)


def to_text(share: Budget) -> str:
    """Write a share in words that `from_text` reads, for a tag and a command line; empty for no limit."""
    words = [] if share.tokens is None else [f"tokens={share.tokens}"]
    words += [] if share.usd is None else [f"usd={share.usd:.6f}"]
    return " ".join(words)


def from_text(text: str) -> Budget:
    """Read a share.

    Raises:
        ValueError: it is none; so a share that is not understood is never taken for no limit.
    """
    tokens, usd = None, None
    for word in text.split():
        name, _, value = word.partition("=")
        if name == "tokens":
            tokens = int(value)
        elif name == "usd":
            usd = float(value)
        else:
            raise ValueError(f"no share: {text!r}")
    return Budget(tokens=tokens, usd=usd)


@dataclass
class Shares:
    """What the runs of one command may spend, together never more than the budget.

    Runs that start at the same time ask first and take then: what is left is divided among all that have asked, by
    their lines. What goes on holds its whole share until it has ended; then it holds what it spent. A run that asks
    when all is held waits, because something may come back.

    Args:
        budget: of the command.
    """

    budget: Budget
    _asked: dict[str, int] = field(default_factory=dict)
    _taken: dict[str, Budget] = field(default_factory=dict)
    _going_on: set[str] = field(default_factory=set)

    @property
    def left(self) -> Budget:
        """What nobody holds and nobody has spent."""
        return left_of(self.budget, self._taken.values())

    @property
    def can_give(self) -> bool:
        """Whether a run has asked that need not wait."""
        return bool(self._asked) and not (self._going_on and is_spent(self.left))

    def ask(self, name: str, lines: int) -> None:
        """Ask for a share."""
        self._asked[name] = lines

    def take(self, name: str) -> Budget | None:
        """Return the share of a run that has asked, None while it must wait; asked for twice, a run has one share."""
        if name in self._asked:
            if not self.can_give:
                return None
            for one, share in zip(self._asked, divide(self.left, list(self._asked.values())), strict=True):
                self.hold(one, share)
            self._asked.clear()
        return self._taken[name]

    def hold(self, name: str, share: Budget) -> None:
        """Count a run that goes on with what it was given, whoever gave it."""
        self._taken[name] = share
        self._going_on.add(name)

    def settle(self, name: str, spent: Budget) -> None:
        """Count a run that has ended with what it spent."""
        self._taken[name] = spent
        self._going_on.discard(name)

    def give_up(self, name: str) -> None:
        """Count a run that nobody watches any more as if it spent what it was given; settled ones stay as they are."""
        self._going_on.discard(name)


def _rest(budget: int, taken: Sequence[int | None]) -> int:
    if None in taken:
        return 0
    return max(budget - sum(one or 0 for one in taken), 0)


def _floor(usd: float) -> int:
    return math.floor(Decimal(str(usd)) * _MICRO)


def _ceil(usd: float) -> int:
    return math.ceil(Decimal(str(usd)) * _MICRO)
