"""A flow that is a plain Python function: what a refund ticket says, as values that built-in metrics can grade."""

from __future__ import annotations

import json
import os
import re
import urllib.request

GOODS = ("coat", "hat", "jacket", "lamp", "shoes")
OPEN = ("?", "please", "when", "how")


def read(ticket: str, *, model: str = "gpt-4o-mini") -> dict[str, object]:
    """Read one ticket.

    Args:
        ticket: what the customer wrote.
        model: name of the one that writes the title.

    Returns:
        `title`, `mood`, `amount` in euros, `goods`, and all but the title once more as JSON text in `document`.
    """
    found = re.search(r"(\d+(?:[.,]\d+)?)\s*(?:euros?|€)", ticket)
    facts = {
        "mood": "asks" if any(word in ticket.casefold() for word in OPEN) else "tells",
        "amount": float(found[1].replace(",", ".")) if found else 0.0,
        "goods": [goods for goods in GOODS if goods in ticket.casefold()],
    }
    return {"title": _title(ticket, model), **facts, "document": json.dumps(facts)}


def _title(ticket: str, model: str) -> str:
    messages = [
        {"role": "system", "content": "Summarise the text in at most 8 words."},
        {"role": "user", "content": f"Text: {ticket}"},
    ]
    request = urllib.request.Request(
        os.environ["OPENAI_BASE_URL"].rstrip("/") + "/chat/completions",
        data=json.dumps({"model": model, "messages": messages}).encode(),
        headers={"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(json.load(answer)["choices"][0]["message"]["content"])
