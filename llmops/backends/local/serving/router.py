"""The router: one address for all deployments of an endpoint, as a plain ASGI application."""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from llmops.backends.local.serving.captured import Captured, capture
from llmops.backends.local.serving.request_log import NO_ANSWER, LoggedRequest, RequestKind
from llmops.backends.local.serving.runtime import Runtime, private_from_json
from llmops.backends.local.serving.served_deployment import SaturatedError, ServedDeployment, UnavailableError
from llmops.backends.local.serving.upstream import NotListeningError, UpstreamAnswer, UpstreamError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]
T = TypeVar("T")

DEPLOYMENT_HEADER = b"azureml-model-deployment"
REQUEST_ID_HEADER = b"x-request-id"
FLOW_FAILED_HEADER = b"x-llmops-flow-failed"
TOKEN_HEADER = b"x-llmops-token"
ADMIN = "/-/"
_OK = 200
BODY_LIMIT = 64 * 2**20

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_HOP_BY_HOP = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te"),
        *(b"trailer", b"transfer-encoding", b"upgrade", b"expect"),
    }
)
_NOT_FORWARDED = _HOP_BY_HOP | {b"authorization", b"host", b"content-length", DEPLOYMENT_HEADER, REQUEST_ID_HEADER}
_NOT_RETURNED = _HOP_BY_HOP | {b"server", b"date", DEPLOYMENT_HEADER, REQUEST_ID_HEADER}


class Refused(Exception):
    """The router answers itself."""

    def __init__(self, status: int, code: str, message: str, *headers: Header) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"code": code, "message": message}}
        self.headers = headers


class GoneError(Exception):
    """The caller went away."""


@dataclass(eq=False)
class _Request:
    """One request on its way.

    Attributes:
        status: what the caller was answered; `NO_ANSWER` until then.
        came_at: seconds since the epoch.
        is_last: whether the connection ends with this request's answer.
        has_begun: whether the head of the answer is sent, so that no other answer can be.
    """

    id: bytes
    scope: Scope
    send: Send
    body: bytes = b""
    deployment: str = ""
    kind: RequestKind = "live"
    status: int = NO_ANSWER
    is_last: bool = False
    has_begun: bool = False
    flow_failed: bool = False
    came_at: float = field(default_factory=time.time)
    started: float = field(default_factory=time.perf_counter)

    @property
    def is_scored(self) -> bool:
        return bool(self.scope["path"] == "/score")

    def headers(self) -> list[Header]:
        """What goes to the serving process: nothing of the connection, not the key."""
        kept = [(name, value) for name, value in self.scope["headers"] if name not in _NOT_FORWARDED]
        return [*kept, (REQUEST_ID_HEADER, self.id)]

    @property
    def target(self) -> bytes:
        query = self.scope.get("query_string", b"")
        path: bytes = self.scope["raw_path"]
        return path + b"?" + query if query else path


class RouterApp:
    """The ASGI application.

    Args:
        token: opens what is below `/-/`, for drivers on this machine.
        stop: ends the server.

    Attributes:
        is_retiring: whether a successor serves, and every connection here ends with its next answer.
    """

    def __init__(self, runtime: Runtime, token: str, stop: Callable[[], None]) -> None:
        self._runtime = runtime
        self._token = token.encode()
        self._stop = stop
        self._copies: set[asyncio.Task[None]] = set()
        self.is_retiring = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        request = _Request(id=_request_id(scope), scope=scope, send=send, is_last=self.is_retiring)
        try:
            if scope["path"].startswith(ADMIN):
                await self._administrate(request, receive)
            elif scope["path"] == "/health":
                await self._health(request)
            else:
                await self._forward(request, receive)
        except Refused as refusal:
            request.status = refusal.status
            if not request.has_begun:  # else the answer is cut short, and uvicorn breaks the connection off
                await _answer(request, refusal.status, refusal.body, *refusal.headers)
        except GoneError:
            pass
        finally:
            self._runtime.pending.discard(request)
        if request.deployment and request.is_scored:
            self._log(request)

    async def _forward(self, request: _Request, receive: Receive) -> None:
        request.body = await _read_body(receive)
        headers = dict(request.scope["headers"])
        self._check_key(headers)
        deployment = self._choose(request, headers.get(DEPLOYMENT_HEADER))
        if request.kind == "live" and request.is_scored:
            self._runtime.pending.add(request)
            self._copy(request)
        gone = asyncio.ensure_future(_wait_until_gone(receive))
        try:
            await self._relay(request, deployment, gone)
        except SaturatedError:
            raise Refused(429, "TooManyRequests", "too many requests wait already", (b"retry-after", b"1")) from None
        except UnavailableError as error:
            raise Refused(503, "DeploymentUnavailable", f"the deployment does not serve: {error}") from None
        except UpstreamError as error:
            raise Refused(502, "NoAnswer", f"the serving process went away: {error}") from None
        finally:
            gone.cancel()

    async def _relay(self, request: _Request, deployment: ServedDeployment, gone: asyncio.Future[None]) -> None:
        limit_s = deployment.settings.request_timeout_s
        answer, body = await _within(_exchange(request, deployment), limit_s, gone)
        try:
            if body is None:
                await _stream(request, answer, limit_s, gone)
            else:
                await _begin(request, answer.status, answer.headers, (b"content-length", b"%d" % len(body)))
                await request.send({"type": "http.response.body", "body": body})
                self._capture(request, deployment, body)
        finally:
            deployment.leave()

    def _choose(self, request: _Request, named: bytes | None) -> ServedDeployment:
        if named is None:
            name = self._runtime.split.pick()
            if name is None:
                raise Refused(503, "NoTraffic", "no deployment has traffic")
        else:
            request.kind = "addressed"
            name = named.decode("latin-1")
        wanted = self._runtime.endpoint.deployments.get(name)
        if wanted is None or wanted.is_deleting:
            raise Refused(404, "DeploymentNotFound", f"no deployment '{name}'")
        request.deployment = name
        deployment = self._runtime.deployments.get(name)
        if deployment is None:
            raise Refused(503, "DeploymentUnavailable", f"the deployment '{name}' is not started")
        return deployment

    def _check_key(self, headers: Mapping[bytes, bytes]) -> None:
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        keys = [key.encode() for key in self._runtime.endpoint.keys.values()]
        matches = [hmac.compare_digest(given.strip(), key) for key in keys]
        if kind.lower() != b"bearer" or not any(matches):
            raise Refused(401, "Unauthorized", "send a key of the endpoint as 'Authorization: Bearer KEY'")

    def _copy(self, request: _Request) -> None:
        """Send a copy to the mirror, if it is this request's turn; nobody waits for it."""
        mirror = self._runtime.mirror
        if mirror is None or not mirror[1].take():
            return
        deployment = self._runtime.deployments.get(mirror[0])
        if deployment is None or mirror[0] == request.deployment:
            return
        copy = _Request(id=request.id, scope=request.scope, send=_swallow, body=request.body)
        copy.deployment, copy.kind = mirror[0], "mirror"
        task = asyncio.ensure_future(self._run_copy(copy, deployment))
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)

    async def _run_copy(self, copy: _Request, deployment: ServedDeployment) -> None:
        """Send a mirrored request; one that finds no free place is dropped, so that live ones never wait for it."""
        limit_s = deployment.settings.request_timeout_s
        self._runtime.pending.add(copy)
        try:
            answer, body = await asyncio.wait_for(_exchange(copy, deployment, waits=False), limit_s)
            try:
                whole = await asyncio.wait_for(answer.read(), limit_s) if body is None else body
                copy.status = answer.status
                self._capture(copy, deployment, whole)
            finally:
                deployment.leave()
        except (SaturatedError, UnavailableError):
            return
        except UpstreamError:
            copy.status = 502
        except asyncio.TimeoutError:
            copy.status = 504
        finally:
            self._runtime.pending.discard(copy)
        self._log(copy)

    def _capture(self, request: _Request, deployment: ServedDeployment, body: bytes) -> None:
        """Keep a request with its answer, if there is consent and it is this one's turn."""
        is_live = request.status == _OK and request.is_scored and request.kind != "addressed"
        if not is_live or not deployment.capture.take():
            return
        kept = capture(request.body, body)
        if kept is not None:
            took_s = time.perf_counter() - request.started
            identifier = request.id.decode("ascii")
            self._runtime.capture(Captured(request.came_at, request.deployment, identifier, *kept, took_s))

    def _log(self, request: _Request) -> None:
        self._runtime.log(
            LoggedRequest(
                ended_at=time.time(),
                id=request.id.decode("ascii"),
                deployment=request.deployment,
                kind=request.kind,
                status=request.status,
                duration_s=time.perf_counter() - request.started,
                flow_failed=request.flow_failed,
            )
        )

    async def _health(self, request: _Request) -> None:
        """Say whether every deployment with traffic answers; needs no key."""
        names = list(self._runtime.endpoint.traffic)
        statuses = {name: (await self._runtime.describe(name))["status"] for name in names}
        healthy = all(status == "healthy" for status in statuses.values())
        body = {"status": "Healthy" if healthy else "Unhealthy", "deployments": statuses}
        await _answer(request, 200 if healthy else 503, body)

    async def _administrate(self, request: _Request, receive: Receive) -> None:
        given = dict(request.scope["headers"]).get(TOKEN_HEADER, b"")
        if not hmac.compare_digest(given, self._token):
            raise Refused(404, "NotFound", "no such path")
        action = request.scope["path"][len(ADMIN) :]
        body = json.loads(await _read_body(receive) or b"{}")
        pending: Mapping[str, Sequence[float]] = {}
        if action == "reload":
            await self._runtime.reload(private_from_json(body))
        elif action == "flush":
            pending = await self._runtime.flush()
        elif action == "stop":
            self._stop()
        elif action != "status":
            raise Refused(404, "NotFound", "no such path")
        names = list(self._runtime.endpoint.deployments) if action == "status" else []
        described = await asyncio.gather(*map(self._runtime.describe, names))
        deployments = dict(zip(names, described, strict=True))
        facts = {"unequipped": self._runtime.unequipped(), "deployments": deployments, "pending": pending}
        await _answer(request, 200, facts)


def _request_id(scope: Scope) -> bytes:
    given: bytes = dict(scope["headers"]).get(REQUEST_ID_HEADER, b"")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex.encode()


async def _exchange(
    request: _Request, deployment: ServedDeployment, *, waits: bool = True
) -> tuple[UpstreamAnswer, bytes | None]:
    """Take a place, send the request, and read the answer; of a stream the head only.

    Unless this raises, the caller leaves the place.
    """
    await deployment.enter(waits=waits)
    try:
        answer = await _send_to(deployment, request)
        return answer, await answer.read() if answer.is_whole else None
    except BaseException:
        deployment.leave()
        raise


async def _send_to(deployment: ServedDeployment, request: _Request) -> UpstreamAnswer:
    while True:
        upstream = await deployment.upstream()
        try:
            return await upstream.send(request.scope["method"], request.target, request.headers(), request.body)
        except NotListeningError:
            deployment.lose(upstream)


async def _within(work: Coroutine[Any, Any, T], limit_s: float, gone: asyncio.Future[None]) -> T:
    """Await some work until a time limit, or until the caller goes away.

    Raises:
        Refused: the time is over.
        GoneError: nobody waits any more.
    """
    task = asyncio.ensure_future(work)
    either: set[asyncio.Future[Any]] = {task, gone}
    await asyncio.wait(either, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()
    if gone.done():
        raise GoneError
    raise Refused(504, "TimeOut", "the deployment did not answer in time")


async def _stream(request: _Request, answer: UpstreamAnswer, limit_s: float, gone: asyncio.Future[None]) -> None:
    """Pass on each piece as it comes."""
    pieces = answer.pieces()
    await _begin(request, answer.status, answer.headers)
    try:
        while (piece := await _within(_next(pieces), limit_s, gone)) is not None:
            await request.send({"type": "http.response.body", "body": piece, "more_body": True})
    except BaseException:
        answer.abort()
        raise
    await request.send({"type": "http.response.body", "body": b""})


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    async for piece in pieces:
        return piece
    return None


async def _begin(request: _Request, status: int, headers: Any, *more: Header) -> None:
    kept = [(name, value) for name, value in headers if name.lower() not in _NOT_RETURNED | {b"content-length"}]
    own = [(REQUEST_ID_HEADER, request.id), *more]
    if request.is_last:
        own.append((b"connection", b"close"))
    if request.deployment:
        own.append((DEPLOYMENT_HEADER, request.deployment.encode()))
    request.status = status
    request.flow_failed = any(name == FLOW_FAILED_HEADER for name, _ in headers)
    request.has_begun = True
    await request.send({"type": "http.response.start", "status": status, "headers": [*kept, *own]})


async def _answer(request: _Request, status: int, body: Mapping[str, Any], *headers: Header) -> None:
    payload = json.dumps(body).encode()
    kind = (b"content-type", b"application/json")
    await _begin(request, status, [kind], *headers, (b"content-length", b"%d" % len(payload)))
    await request.send({"type": "http.response.body", "body": payload})


async def _read_body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise GoneError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > BODY_LIMIT:
            raise Refused(413, "TooLarge", f"the body is larger than {BODY_LIMIT} bytes")
        if not message.get("more_body"):
            return b"".join(parts)


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _swallow(message: MutableMapping[str, Any]) -> None:
    del message
