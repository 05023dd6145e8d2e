"""Requests and answers as the emulated services see them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmops.emulator.errors import RefusalError, user_error


@dataclass(frozen=True, kw_only=True)
class Request:
    """One HTTP request.

    Attributes:
        number: counts from 1, over all services.
        host: lower case, with the port if the client sent one.
        path: percent-decoded, without the query.
        target: path and query as they were sent.
        query: name to value, names in lower case; the last of several values.
        headers: name in lower case to value.
    """

    number: int
    method: str
    host: str
    path: str
    target: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""

    def json(self) -> Any:
        """Read the body.

        Raises:
            RefusalError: 400, the body is not JSON.
        """
        if not self.body:
            return {}
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise user_error(f"The request body is not JSON: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Response:
    """One HTTP answer; `content-length` is added when it is sent."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with JSON."""
    body = json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace")
    return Response(
        status=status, headers={"Content-Type": "application/json; charset=utf-8", **(headers or {})}, body=body
    )


def refusal_response(refusal: RefusalError) -> Response:
    """Answer with the error body of Azure Resource Manager."""
    body = {"error": {"code": refusal.code, "message": refusal.message}}
    return json_response(body, refusal.status, refusal.headers)


class DropConnectionError(Exception):
    """End the connection without an answer; the client sees a reset."""
