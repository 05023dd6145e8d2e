"""Requests to a managed online endpoint, with our own client.

The SDK's `invoke` keeps the deployment that was named once for all later calls of the process (contract, 3.8) and
needs four requests for one answer.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from llmops.backends.azure.arm import Arm
from llmops.backends.azure.refusals import NotThereError
from llmops.backends.azure.resources import ENDPOINT_VERSION
from llmops.backends.protocols import Answer
from llmops.errors import UsageError

if TYPE_CHECKING:
    import httpx

_TEXT_LIMIT = 2000
_ERROR = 400
_UNAUTHORIZED = 401
_CONTAINER_FAILED = 424
_FRONT_FAILED, _UNAVAILABLE = 500, 503
_NOT_THE_FLOW = frozenset({429, 502, 503, 504})
_CONNECT_S = 20.0
_CONNECTIONS = 256


class _Place(NamedTuple):
    uri: str
    key: str


@dataclass
class Scorer:
    """Scores through endpoints' own addresses, with their own keys; may be used from several threads."""

    arm: Arm
    _places: dict[str, _Place] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def score(self, endpoint: str, inputs: Mapping[str, Any], *, deployment: str | None, timeout_s: float) -> Answer:
        """See `Endpoints.score`."""
        answer = self._ask(self._place(endpoint), inputs, deployment, timeout_s)
        if answer.status == _UNAUTHORIZED:  # the key may have been replaced since
            with self._lock:
                self._places.pop(endpoint, None)
            answer = self._ask(self._place(endpoint), inputs, deployment, timeout_s)
        return answer

    def close(self) -> None:
        """Close the connections; they open again when they are needed."""
        client = self.__dict__.pop("_client", None)
        if client is not None:
            client.close()

    def _ask(self, place: _Place, inputs: Mapping[str, Any], deployment: str | None, timeout_s: float) -> Answer:
        import httpx

        headers = {
            "authorization": f"Bearer {place.key}",
            "content-type": "application/json",
            "x-request-id": secrets.token_hex(16),
        }
        if deployment is not None:
            headers["azureml-model-deployment"] = deployment
        started = time.perf_counter()
        limits = httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_S))
        try:
            response = self._client.post(
                place.uri, content=json.dumps(dict(inputs)).encode(), headers=headers, timeout=limits
            )
        except httpx.HTTPError as error:
            text = f"no answer: {str(error) or type(error).__name__}"
            duration_s = time.perf_counter() - started
            return Answer(status=0, text=text, duration_s=duration_s, request_id=headers["x-request-id"])
        return _answer(response, headers["x-request-id"], time.perf_counter() - started)

    def _place(self, endpoint: str) -> _Place:
        with self._lock:
            if endpoint not in self._places:
                self._places[endpoint] = self._find(endpoint)
            return self._places[endpoint]

    def _find(self, endpoint: str) -> _Place:
        path, what = self.arm.path(f"onlineEndpoints/{endpoint}"), f"find the address of the endpoint '{endpoint}'"
        try:
            found = self.arm.send("GET", path, version=ENDPOINT_VERSION, what=what).body["properties"]
        except NotThereError as error:
            raise UsageError.of(f"no endpoint '{endpoint}'", fix="`llmops deploy` makes one.") from error
        if found.get("authMode") == "AADToken":
            scope = f"{self.arm.session.settings.cloud.aml_resource_id}/.default"
            token = self.arm.session.call(what, lambda: self.arm.session.credential.get_token(scope).token)
            return _Place(found["scoringUri"], token)
        reply = self.arm.send(
            "POST", f"{path}/listKeys", version=ENDPOINT_VERSION, what=f"get the key of the endpoint '{endpoint}'"
        )
        return _Place(found["scoringUri"], reply.body["primaryKey"])

    @cached_property
    def _client(self) -> httpx.Client:
        import httpx

        limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS)
        return httpx.Client(limits=limits)


def _answer(response: httpx.Response, request_id: str, duration_s: float) -> Answer:
    outputs = _json_object(response.content)
    is_good = outputs is not None and response.status_code < _ERROR
    return Answer(
        status=_status(response),
        outputs=outputs,
        text="" if is_good else response.content[:_TEXT_LIMIT].decode("utf-8", "replace"),
        deployment=response.headers.get("azureml-model-deployment", ""),
        duration_s=duration_s,
        request_id=response.headers.get("x-request-id", request_id),
    )


def _status(response: httpx.Response) -> int:
    """Tell the status that matters: whether the flow failed, or it was not asked.

    A container that fails is a 424: it hides one that is busy or was not reached; a 500 is of what stands before it.
    Source: https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints
    """
    if response.status_code == _FRONT_FAILED:
        return _UNAVAILABLE
    inner = response.headers.get("ms-azureml-model-error-statuscode", "")
    if response.status_code == _CONTAINER_FAILED and inner.isdecimal() and int(inner) in _NOT_THE_FLOW:
        return int(inner)
    return response.status_code


def _json_object(content: bytes) -> Mapping[str, Any] | None:
    try:
        value = json.loads(content)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
