"""The time as Azure writes it."""

from __future__ import annotations

import time


def timestamp() -> str:
    """Return the present time, in UTC with microseconds."""
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1_000_000):06d}+00:00"
