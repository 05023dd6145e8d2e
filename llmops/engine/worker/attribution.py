"""Say on model calls which line makes them, so that the gateway can count a line's tokens.

Prompt flow does so for the openai client alone. Here it is done for whatever sends with httpx, as the openai client of
either generation does, or with the standard library's HTTP client, on which requests and urllib stand. No other address
than the gateway's is told anything.
"""

from __future__ import annotations

import contextvars
import functools
import http.client
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

HEADER = "x-llmops-line"
line: contextvars.ContextVar[str] = contextvars.ContextVar("line", default="")
"""Id of the line that this context runs; empty outside of lines."""


def tell(connections: dict[str, Any]) -> None:
    """Have requests to the addresses of these connections carry the line's id; without an address nothing changes."""
    places = {place for value in connections.values() for place in _places(value["configs"])}
    if not places:
        return
    _tell_standard_library(places)
    for name in ("httpx", "httpx2"):
        if importlib.util.find_spec(name):
            _tell_httpx(importlib.import_module(name), places)


def _places(configs: dict[str, Any]) -> list[tuple[str | None, int | None]]:
    addresses = (urlsplit(str(configs[name])) for name in ("base_url", "api_base") if configs.get(name))
    return [(address.hostname, address.port) for address in addresses]


def _tell_standard_library(places: set[tuple[str | None, int | None]]) -> None:
    end_headers = http.client.HTTPConnection.endheaders

    @functools.wraps(end_headers)
    def end(self: http.client.HTTPConnection, *args: Any, **named: Any) -> None:
        if line.get() and (self.host, self.port) in places:
            self.putheader(HEADER, line.get())
        end_headers(self, *args, **named)

    http.client.HTTPConnection.endheaders = end  # type: ignore[method-assign]


def _tell_httpx(httpx: Any, places: set[tuple[str | None, int | None]]) -> None:
    for client in (httpx.Client, httpx.AsyncClient):
        client.send = _telling(client.send, places)


def _telling(send: Callable[..., Any], places: set[tuple[str | None, int | None]]) -> Callable[..., Any]:
    @functools.wraps(send)
    def tell_and_send(self: Any, request: Any, **named: Any) -> Any:
        if line.get() and (request.url.host, request.url.port) in places:
            request.headers.setdefault(HEADER, line.get())
        return send(self, request, **named)

    return tell_and_send
