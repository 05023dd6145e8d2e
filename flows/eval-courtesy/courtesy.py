"""An evaluator that is a plain Python function: a row's values in, its scores out."""

from __future__ import annotations


def grade(reply: str, max_words: int = 20) -> dict[str, float]:
    """Score one reply.

    Args:
        reply: what the customer would read.
        max_words: longest reply that is still short.

    Returns:
        `thanks`: 1 when it thanks the customer; `brevity`: 1 for a reply within the limit, less for each word above it.
    """
    words = len(reply.split())
    return {"thanks": float("thank you" in reply.casefold()), "brevity": min(1.0, max_words / max(words, 1))}
