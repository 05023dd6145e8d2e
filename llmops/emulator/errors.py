"""How the emulated service says no."""

from __future__ import annotations

from collections.abc import Mapping


class RefusalError(Exception):
    """A request is answered with an error.

    Args:
        status: HTTP status.
        code: of the error body.
        message: of the error body.
        headers: further headers of the answer.
    """

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


def not_found(what: str) -> RefusalError:
    """Build the answer to a request for a resource that does not exist."""
    return RefusalError(404, "ResourceNotFound", f"The resource {what} was not found.")


def user_error(message: str, status: int = 400) -> RefusalError:
    """Build the answer to a request that the service does not accept."""
    return RefusalError(status, "UserError", message)
