"""What the models were asked, in one sentence."""

from __future__ import annotations

from llmops.records import ModelCalls


def describe_calls(calls: ModelCalls) -> str:
    """Say how many calls there were, where the answers came from, what they cost and what limited them.

    Returns:
        A clause without a full stop; empty when there was no call.
    """
    origins = (
        (calls.live, "live"),
        (calls.cached, "from the call cache"),
        (calls.replayed, "replayed"),
        (calls.refused, "refused"),
    )
    counts = [f"{number} {name}" for number, name in origins if number]
    if not counts:
        return ""
    parts = [", ".join(counts), *_spending(calls), *_limits(calls)]
    if calls.unattributed:
        parts.append(f"{calls.unattributed} named no line, so their tokens are the run's alone")
    if calls.uncounted:
        parts.append(f"{calls.uncounted} answers had no token count")
    return "; ".join([*parts, *([calls.problem] if calls.problem else [])])


def _spending(calls: ModelCalls) -> list[str]:
    if not calls.live:
        return []
    tokens = f"{calls.spent_tokens} tokens spent"
    if not calls.prices_as_of or calls.spent_usd is None:
        return [tokens]
    return [f"{tokens}, {calls.spent_usd:.4f} USD by the prices of {calls.prices_as_of}"]


def _limits(calls: ModelCalls) -> list[str]:
    retries = [f"{calls.retries} retries"] if calls.retries else []
    settled = []
    for model, number in calls.concurrency.items():
        pace = calls.calls_per_second.get(model)
        speed = f" and {pace:g} calls per second" if pace is not None else ""
        settled.append(f"{model or 'the model'} settled at {number} at once{speed}")
    return [*retries, *settled]
