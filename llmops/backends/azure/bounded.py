"""A time limit for calls that have none: the SDK's requests to run history wait for ever."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def bounded(work: Callable[[], T], timeout_s: float) -> T:
    """Return what `work` returns, or raise what it raises.

    A call that is late goes on in a thread that nobody waits for, so it must be one that may be made twice.

    Raises:
        requests.Timeout: nothing came within `timeout_s` seconds.
    """
    outcome: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 whatever it is, it is raised where the caller waits
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True, name="azure-call").start()
    try:
        return outcome.result(timeout_s)
    except concurrent.futures.TimeoutError as error:
        if outcome.done():
            raise  # the work's own
        import requests

        raise requests.Timeout(f"no answer within {timeout_s:g} s") from error
