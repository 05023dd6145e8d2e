"""How a deployment is served on this machine, as an environment's configuration says."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmops.errors import Problem, UsageError, near_match


@dataclass(frozen=True, kw_only=True)
class ServingSettings:
    """Limits of one deployment.

    Attributes:
        max_concurrent_requests: that the serving process works on at once.
        max_queued_requests: that may wait for their turn; the next one is answered 429.
        request_timeout_s: until a request without an answer is answered 504; of a streamed answer, the longest pause.
        python: interpreter of the serving process; it needs uvicorn, and promptflow-core for flows of prompt flow.
            The version's own when empty.
    """

    max_concurrent_requests: int = 64
    max_queued_requests: int = 256
    request_timeout_s: float = 90.0
    python: str = ""


def read_settings(settings: Mapping[str, Any], where: str) -> ServingSettings:
    """Read a deployment's settings.

    Args:
        where: the deployment, for messages.

    Raises:
        UsageError: every key that is unknown and every value that is out of range.
    """
    fields = {one.name: one for one in dataclasses.fields(ServingSettings)}
    problems = [problem for key, value in settings.items() if (problem := _judge(key, value, fields, where))]
    if problems:
        raise UsageError(*problems)
    return ServingSettings(**settings)


def _judge(key: str, value: Any, known: Mapping[str, Any], where: str) -> Problem | None:
    place = f"{where}: settings.{key}"
    if key not in known:
        expected = ", ".join(f"'{name}'" for name in known)
        return Problem(what="no such setting", where=place, expected=expected, fix=near_match(key, known))
    if key == "python":
        wrong, expected = not (isinstance(value, str) and value), "path of a Python interpreter"
    else:
        whole = key.startswith("max_")
        least = 0 if key == "max_queued_requests" else 1 if whole else 0.001
        kinds = (int,) if whole else (int, float)
        wrong = type(value) not in kinds or value < least
        expected = f"a {'whole ' if whole else ''}number, at least {least}"
    return Problem(what="wrong value", where=place, found=repr(value), expected=expected) if wrong else None
