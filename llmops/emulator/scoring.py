"""The front of managed online endpoints: keys, traffic, limits, and how failures of the container look."""

from __future__ import annotations

import hmac
import http.client
import random
import re
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

from llmops.emulator.cloud import Cloud, Workspace
from llmops.emulator.containers import Container
from llmops.emulator.errors import RefusalError
from llmops.emulator.store import Document
from llmops.emulator.wire import Request, Response

_DURATION = re.compile(r"PT(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?")
_LONGEST_S = 90.0
_AUDIENCE = "https://ml.azure.com"
_PASSED_ON = ("content-type", "accept", "x-request-id", "x-ms-client-request-id", "traceparent")


@dataclass(frozen=True, kw_only=True)
class _Target:
    cloud: Cloud
    workspace: Workspace
    endpoint: str
    deployment: str


def answer(cloud: Cloud, request: Request) -> Response:
    """Answer one request to an endpoint's own host."""
    name, path = _endpoint_of(request)
    owner = cloud.store.get("endpoint-names", name)
    if owner is None:
        return _text(404, f"There is no endpoint '{name}'.")
    workspace = Workspace.from_id(owner["workspace"])
    endpoint = cloud.store.get(*workspace.key, "onlineEndpoints", name)
    if endpoint is None or not _is_authorized(cloud, workspace, endpoint, request):
        return _text(401, "Please check this guide to understand why this error code might have been returned.")
    deployment = _choose(endpoint, request)
    if deployment is None:
        return _text(404, "There is no deployment that takes traffic.")
    target = _Target(cloud=cloud, workspace=workspace, endpoint=name, deployment=deployment)
    _mirror(target, endpoint, request, path)
    return _score(target, request, path)


def _endpoint_of(request: Request) -> tuple[str, str]:
    """Tell endpoint and path; behind a cloud of one's own, the path begins with the endpoint."""
    if ".inference." in request.host:
        return request.host.partition(".")[0], request.path
    parts = request.path.strip("/").split("/")
    return parts[1] if len(parts) > 1 else "", "/" + "/".join(parts[2:])


def _is_authorized(cloud: Cloud, workspace: Workspace, endpoint: Document, request: Request) -> bool:
    header = request.headers.get("authorization", "")
    if endpoint["properties"].get("authMode") == "AADToken":
        try:
            return bool(cloud.tokens.claims(header, (_AUDIENCE, f"https://{request.host}")))
        except RefusalError:
            return False
    scheme, _, key = header.partition(" ")
    keys = cloud.store.get(*workspace.key, "keys", endpoint["name"]) or {}
    return scheme.lower() == "bearer" and any(hmac.compare_digest(str(value), key) for value in keys.values())


def _choose(endpoint: Document, request: Request) -> str | None:
    asked = request.headers.get("azureml-model-deployment")
    if asked:
        return asked
    traffic: dict[str, int] = {name: share for name, share in endpoint["properties"]["traffic"].items() if share > 0}
    return random.choices(list(traffic), list(traffic.values()))[0] if traffic else None


def _mirror(target: _Target, endpoint: Document, request: Request, path: str) -> None:
    if request.headers.get("azureml-model-deployment") or request.method != "POST":
        return
    for shadow, percent in endpoint["properties"]["mirrorTraffic"].items():
        if shadow != target.deployment and random.uniform(0, 100) < percent:
            arguments = [replace(target, deployment=shadow), request, path]
            threading.Thread(target=_score, args=arguments, daemon=True).start()


def _score(target: _Target, request: Request, path: str) -> Response:
    started = time.time()
    response = _answer(target, request, path)
    if path.strip("/") == "score":
        key = (target.workspace.guid, target.endpoint.lower())
        target.cloud.scored.add(key, target.deployment, response.status, started, time.time() - started)
    return response


def _answer(target: _Target, request: Request, path: str) -> Response:
    try:
        container = target.cloud.hosting.find(target.workspace, target.endpoint, target.deployment)
    except RefusalError:
        return _text(404, f"There is no deployment '{target.deployment}' that serves.")
    document = target.cloud.store.get(*target.workspace.deployment_key(target.endpoint, target.deployment)) or {}
    settings: dict[str, Any] = document.get("properties", {}).get("requestSettings") or {}
    capacity = int((document.get("sku") or {}).get("capacity") or 1)
    most = 2 * int(settings.get("maxConcurrentRequestsPerInstance") or 1) * capacity
    with container.lock:
        if container.pending >= most:
            return _text(429, "Too many requests are pending for this deployment.")
        container.pending += 1
    try:
        timeout_s = seconds(settings.get("requestTimeout") or "PT5S")
        return _forward(container, request, path, timeout_s, target.deployment)
    finally:
        with container.lock:
            container.pending -= 1


def _forward(container: Container, request: Request, path: str, timeout_s: float, deployment: str) -> Response:
    headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
    try:
        answer = container.send(request.method, path, request.body, headers, timeout_s)
    except TimeoutError:
        return _text(408, "The deployment did not answer in time.")
    except (OSError, http.client.HTTPException) as error:
        return _failed(502, f"container not reachable: {type(error).__name__}", b"")
    if answer.status != http.client.OK:
        return _failed(answer.status, http.client.responses.get(answer.status, ""), answer.body)
    kind = answer.headers.get("content-type", "application/json")
    return Response(headers={"Content-Type": kind, "azureml-model-deployment": deployment}, body=answer.body)


def _failed(status: int, reason: str, body: bytes) -> Response:
    headers = {
        "Content-Type": "application/json",
        "ms-azureml-model-error-statuscode": str(status),
        "ms-azureml-model-error-reason": reason,
    }
    return Response(status=424, headers=headers, body=body)


def _text(status: int, message: str) -> Response:
    return Response(status=status, headers={"Content-Type": "text/plain; charset=utf-8"}, body=message.encode("utf-8"))


def seconds(duration: str) -> float:
    """Read an ISO 8601 duration of minutes and seconds; the front never waits longer than 90 s."""
    match = _DURATION.fullmatch(duration)
    if match is None:
        return _LONGEST_S
    return min(int(match[1] or 0) * 60 + float(match[2] or 0), _LONGEST_S)
