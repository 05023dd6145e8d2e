"""Say what went wrong in a line, and whose doing it was."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Any

MESSAGE_LIMIT = 2000
_HERE = __file__.rsplit("failures.py", 1)[0]
_INFRASTRUCTURE = {"APIConnectionError", "APITimeoutError", "RateLimitError", "InternalServerError"}
_ACCESS = {"AuthenticationError", "PermissionDeniedError", "NotFoundError"}


def status(error: BaseException) -> str:
    """Return `unmeasured` where the model refused or could not be reached, else `failed`.

    The classes are those of the openai client: https://github.com/openai/openai-python#handling-errors
    """
    return "unmeasured" if any(_is_infrastructure(link) for link in _chain(error)) else "failed"


def _is_infrastructure(error: BaseException) -> bool:
    if type(error).__module__.partition(".")[0] != "openai":
        return False
    return any(blames_the_model(cls.__name__) for cls in type(error).__mro__)


def blames_the_model(name: str) -> bool:
    """Tell whether an error of the openai client, by the name of its class, is no doing of the flow."""
    return name in _INFRASTRUCTURE | _ACCESS


def describe(error: BaseException) -> dict[str, Any]:
    """Return type, message, node and the flow's own frames of the error that the user wrote or met."""
    cause = _root(error)
    frames = [frame for frame in traceback.extract_tb(cause.__traceback__) if _is_users(frame.filename)]
    return {
        "type": type(cause).__name__,
        "message": (str(cause) or type(cause).__name__)[:MESSAGE_LIMIT],
        "node": next((name for name in map(_node, _chain(error)) if name), None),
        "traceback": "".join(traceback.format_list(frames))[-MESSAGE_LIMIT:],
    }


def _is_users(filename: str) -> bool:
    return (
        "site-packages" not in filename
        and not filename.startswith((_HERE, "<frozen"))
        and "/lib/python" not in filename
    )


def _node(error: BaseException) -> str | None:
    return getattr(error, "_node_name", None) or getattr(error, "node_name", None)


def _root(error: BaseException) -> BaseException:
    """Follow the wrappers of promptflow down to what they wrap."""
    *_, last = _chain(error)
    return last


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = _wrapped(link) if type(link).__module__.partition(".")[0] == "promptflow" else None


def _wrapped(error: BaseException) -> BaseException | None:
    """Return what an error of promptflow's wraps; some of its classes keep a text under the same name."""
    candidates = (getattr(error, "_ex", None), getattr(error, "inner_exception", None), error.__cause__)
    return next((link for link in candidates if isinstance(link, BaseException)), None)
