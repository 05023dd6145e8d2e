"""A flex flow that is a class: `init` arguments, one call per row, and `__aggregate__` over all rows.

Prompt flow reads the annotations of `__init__` as classes, so `from __future__ import annotations` must not stand here.
"""

from typing import Any

OPENINGS = {"Billing": "We are looking into the charge.", "Shipping": "We are asking the courier."}
OTHERWISE = "We will be in touch."


class Reply:
    """Drafts the first reply to a ticket."""

    def __init__(self, greeting: str = "Hello", max_words: int = 20) -> None:
        """Keep what is the same for every ticket.

        Args:
            greeting: first word of each reply.
            max_words: longest reply.
        """
        self._greeting = greeting
        self._max_words = max_words

    def __call__(self, ticket: str, team: str):  # noqa: ANN204 prompt flow refuses a plain dict as annotation
        """Draft one reply."""
        text = f"{self._greeting}, thank you for writing. {OPENINGS.get(team, OTHERWISE)}"
        return {"reply": text, "fits": len(text.split()) <= self._max_words, "asked": ticket.endswith("?")}

    def __aggregate__(self, lines: list[dict[str, Any]]) -> dict[str, float]:
        """Return the share of replies that fit."""
        return {"fit": sum(line["fits"] for line in lines) / len(lines)}
