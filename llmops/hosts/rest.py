"""Calls to a CI system's REST API: time limits, patience with what passes, pages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import requests

from llmops.errors import BackendError, TransientError

Method = Literal["GET", "POST", "PATCH"]

TIMEOUT_S = 20.0
ATTEMPTS = 4
LONGEST_WAIT_S = 60.0
"""A service that asks for more patience than this is given up."""

_STALE = 412
_LIMITED = (429, 503)
_MAY_PASS = (500, 502, 503, 504)


class StaleError(BackendError):
    """Somebody changed meanwhile what a call rests on; nothing was done."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the service said: the JSON document, None when it sent none, and the address of the next page."""

    document: Any
    next_page: str = ""


class _Token(requests.auth.AuthBase):
    """Sets the header itself: otherwise requests would prefer what a .netrc file says of the host."""

    def __init__(self, authorization: str) -> None:
        self._authorization = authorization

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._authorization
        return request


class RestClient:
    """Speaks to one service.

    Args:
        base_url: what paths are appended to, without a slash at the end; calls never leave it.
        authorization: value of the header of that name.
        headers: sent with each request.
        sleep: waits for a number of seconds.
    """

    def __init__(
        self,
        base_url: str,
        *,
        authorization: str,
        headers: Mapping[str, str],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._base_url = base_url
        self._session = requests.Session()
        self._session.auth = _Token(authorization)
        self._session.headers.update(headers)
        self._sleep = sleep

    def call(
        self,
        method: Method,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        media_type: str = "application/json",
        is_safe: bool | None = None,
    ) -> Answer:
        """Make one call.

        Waits and repeats when the service asks for patience. What is not known to have had no effect is repeated only
        when it changes nothing: a POST that ended in a server error may have been carried out.

        Args:
            path: appended to the base address, or a whole address below it.
            body: sent as JSON.
            media_type: of the body.
            is_safe: whether a repetition changes nothing; None: unless it is a POST.

        Raises:
            TransientError: it failed in a way that may pass, and a repetition is not safe or did not help.
            StaleError: what the call rests on has changed.
            BackendError: the service refused.
        """
        repeats = method != "POST" if is_safe is None else is_safe
        headers = {"Content-Type": media_type} if body is not None else {}
        url = path if path.startswith(f"{self._base_url}/") else f"{self._base_url}/{path.lstrip('/')}"
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response = self._session.request(
                    method,
                    url,
                    json=body,
                    params=params,
                    headers=headers,
                    timeout=TIMEOUT_S,
                    allow_redirects=False,
                )
            except requests.RequestException as error:
                failure, wait_s, may_repeat = f"{type(error).__name__}", 2.0 ** (attempt - 1), repeats
            else:
                if response.ok and not response.is_redirect:
                    return _read(response, self._base_url)
                is_limited = _is_limited(response)
                if not is_limited and response.status_code not in _MAY_PASS:
                    kind = StaleError if response.status_code == _STALE else BackendError
                    raise kind.of(f"{method} was refused", where=url, found=_describe(response))
                failure, wait_s = _describe(response), _wait_s(response, attempt)
                may_repeat = is_limited or repeats
            if not may_repeat or attempt == ATTEMPTS or wait_s > LONGEST_WAIT_S:
                break
            self._sleep(wait_s)
        raise TransientError.of(f"{method} failed", where=url, found=failure)

    def pages(self, path: str, *, params: Mapping[str, str] | None = None) -> Iterator[Any]:
        """Get a list page by page, following `Link: …; rel="next"`."""
        answer = self.call("GET", path, params=params)
        yield answer.document
        while answer.next_page:
            answer = self.call("GET", answer.next_page)
            yield answer.document


def _is_limited(response: requests.Response) -> bool:
    """Say whether the service asks for patience; GitHub's rate limits also come as 403.

    Source: docs.github.com, rate limits for the REST API.
    """
    if response.status_code in _LIMITED:
        return True
    headers = response.headers
    return response.status_code == 403 and ("Retry-After" in headers or headers.get("x-ratelimit-remaining") == "0")


def _wait_s(response: requests.Response, attempt: int) -> float:
    asked = response.headers.get("Retry-After", "")
    if asked.isdigit():
        return float(asked)
    reset = response.headers.get("x-ratelimit-reset", "")
    if response.headers.get("x-ratelimit-remaining") == "0" and reset.isdigit():
        return max(1.0, float(reset) - time.time())
    return 2.0 ** (attempt - 1)


def _read(response: requests.Response, base_url: str) -> Answer:
    following = str(response.links.get("next", {}).get("url", ""))
    # The token goes along with the next request, so it must not lead elsewhere.
    next_page = following if following.startswith(f"{base_url}/") else ""
    try:
        return Answer(document=response.json() if response.content else None, next_page=next_page)
    except ValueError as error:
        # Azure DevOps answers an unknown token with 203 and a page to sign in.
        raise BackendError.of(
            "the answer is no JSON", where=response.url, found=f"status {response.status_code}"
        ) from error


def _describe(response: requests.Response) -> str:
    try:
        message = str(response.json().get("message", ""))[:200]
    except (ValueError, AttributeError):
        message = ""
    return f"status {response.status_code}{f', {message}' if message else ''}"
