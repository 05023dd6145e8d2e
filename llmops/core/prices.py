"""What model calls cost."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from llmops.core.declare import setting

_PER = 1_000_000
_DATED = re.compile(r"-\d{4}")


@dataclass(frozen=True, kw_only=True)
class Price:
    """What one model costs, in US dollars per million tokens."""

    prompt: float = setting("US dollars per million prompt tokens.", minimum=0)
    completion: float = setting("US dollars per million completion tokens.", default=0.0, minimum=0)
    as_of: str = setting(
        "Day on which this was the price, for instance 2026-05-01.", pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
    )


def find_price(prices: Mapping[str, Price], asked: str, answered: str = "") -> Price | None:
    """Find a model's price.

    Args:
        asked: model (or Azure deployment) that the request names; it goes first.
        answered: model that the answer names.

    Returns:
        The price of that very name, else of the name that it continues with a date: `gpt-4o-mini-2024-07-18` takes
        the price of `gpt-4o-mini`.
    """
    for name in (asked, answered):
        if name in prices:
            return prices[name]
    for name in (asked, answered):
        shorter = [known for known in prices if name.startswith(known) and _DATED.match(name[len(known) :])]
        if shorter:
            return prices[max(shorter, key=len)]
    return None


def cost_usd(price: Price, prompt_tokens: int, completion_tokens: int) -> float:
    """Return the price of one call in US dollars."""
    return (prompt_tokens * price.prompt + completion_tokens * price.completion) / _PER
