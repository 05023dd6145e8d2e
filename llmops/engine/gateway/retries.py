"""Which failures are worth another try, when, and how many a run may have."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from llmops.config.model import Retries

BASE_S = 0.25
CAP_S = 20.0
_NEVER = {501, 505}
_TOO_MUCH = {429, 503, 529}


def can_succeed_later(status: int, body: bytes = b"") -> bool:
    """Tell whether the same request may be answered next time: 408, 429 and what the server did wrong.

    A 429 that says that the quota is used up will be one tomorrow, too.
    """
    if status == 429:
        return b"insufficient_quota" not in body
    return status == 408 or (status >= 500 and status not in _NEVER)


def has_too_much_to_do(status: int) -> bool:
    """Tell whether the service asks for fewer calls."""
    return status in _TOO_MUCH


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a service asks for; None when it does not.

    Source: RFC 9110, section 10.2.3 (seconds or a date); `retry-after-ms` is OpenAI's and Azure OpenAI's finer form.
    """
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        text = headers.get("retry-after", "")
        if not text:
            return None
        if text.replace(".", "", 1).isdigit():
            return float(text)
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(timezone.utc)).total_seconds())
    except (ValueError, TypeError):
        return None


def wait_before(attempt: int, retry_after_s: float | None, draw: random.Random) -> float:
    """Return the seconds to wait before the next try.

    Exponential backoff with full jitter: anything from 0 to twice as much each time. What the service asks for is
    kept to, with a little more, so that those it sent away do not all come back at once.

    Args:
        attempt: how many tries there were, from 1.
    """
    if retry_after_s is not None:
        return retry_after_s + draw.uniform(0, BASE_S)
    return draw.uniform(0, min(CAP_S, BASE_S * 2**attempt))


class RetryBudget:
    """How many retries one run has left: a fixed number and one for every two answers.

    A service that fails now and then never uses it up; one that is down does so at once, and the run stops waiting.
    """

    def __init__(self, limits: Retries) -> None:
        self._limits = limits
        self._answered = 0
        self.taken = 0

    def answered(self) -> None:
        """Count an answer."""
        self._answered += 1

    def take(self) -> bool:
        """Take one retry; False when none is left."""
        if self.taken >= self._limits.per_run + self._answered // 2:
            return False
        self.taken += 1
        return True
