"""A flow that is a plain Python function, with nothing of prompt flow and nothing of llmops in it."""

from __future__ import annotations

import asyncio
import json
import os
import urllib.request
from typing import Any

PROMPT = """\
Classify the ticket into one of these categories: Billing, Shipping, Returns, None.

Ticket: The amount on my invoice is too high, the card payment was taken twice.
Category: Billing

Ticket: Where is my parcel? The courier missed the delivery and the tracking is empty.
Category: Shipping

Ticket: The size is wrong, I want to send it back or exchange the item; I need a return label.
Category: Returns

Answer with the category alone."""


async def route(ticket: str, *, model: str = "gpt-4o-mini") -> dict[str, str]:
    """Name the team that a ticket goes to.

    Args:
        ticket: what the customer wrote.
        model: its name at the service.
    """
    messages = [{"role": "system", "content": PROMPT}, {"role": "user", "content": f"Ticket: {ticket}\nCategory:"}]
    answer = await asyncio.to_thread(_post, {"model": model, "messages": messages})
    return {"team": answer["choices"][0]["message"]["content"].strip()}


def _post(body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        os.environ["OPENAI_BASE_URL"].rstrip("/") + "/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)
