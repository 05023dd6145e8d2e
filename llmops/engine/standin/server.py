"""Serve the stand-in model on 127.0.0.1 as a plain ASGI application under uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import math
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

import uvicorn

from llmops.engine.standin import wire
from llmops.engine.standin.embedding import embed
from llmops.engine.standin.model import answer
from llmops.engine.standin.process import StandInStats
from llmops.errors import UsageError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

LABEL = (b"x-llmops-stand-in", b"true")
_MODEL_PATH = re.compile(
    r"(?:/v1)?/(?:openai/deployments/(?P<deployment>[^/]+)/)?(?P<kind>chat/completions|completions|embeddings)"
)
# An idle connection that the server closes while a client reuses it is a spurious failure: keep them open for long.
_KEEP_ALIVE_S = 3600
_NO_STATS = StandInStats(calls=0, by_path={}, prompt_tokens=0, completion_tokens=0, in_flight_max=0)


class StandInApp:
    """The ASGI application; its counters start at zero.

    Args:
        latency_ms: added to every answer of a model, without keeping the others waiting.
        calls_per_second: calls beyond it get 429 with `Retry-After`; None for no limit.
    """

    def __init__(self, *, latency_ms: float = 0.0, calls_per_second: float | None = None) -> None:
        self._latency_s = latency_ms / 1000
        self._rate = RateLimit(calls_per_second) if calls_per_second else None
        self._stats = _NO_STATS
        self._in_flight = 0

    @property
    def stats(self) -> StandInStats:
        """The counters."""
        return self._stats

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        try:
            await self._route(scope, receive, send)
        except wire.RequestRefused as refusal:
            more = [(name.encode(), value.encode()) for name, value in refusal.headers.items()]
            await _send_json(send, refusal.status, refusal.body, *more)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        if path == "/stats" and method == "GET":
            return await _send_json(send, 200, dataclasses.asdict(self._stats))
        if path == "/stats/reset" and method == "POST":
            self._stats = _NO_STATS
            return await _send_json(send, 200, dataclasses.asdict(self._stats))
        _require_key(scope)
        if path in {"/v1/models", "/models"} and method == "GET":
            return await _send_json(send, 200, _list_models())
        match = _MODEL_PATH.fullmatch(path)
        if match is None:
            raise wire.RequestRefused(404, f"Unknown path: {method} {path}", code="unknown_url")
        if method != "POST":
            raise wire.RequestRefused(405, f"Not allowed to {method} on {path}.", code="method_not_supported")
        body = wire.read_body(await _receive_body(receive))
        if self._rate is not None:
            self._rate.take()
        return await self._call(path, match["kind"], match["deployment"], body, send)

    async def _call(self, path: str, kind: str, deployment: str | None, body: Mapping[str, Any], send: Send) -> None:
        self._in_flight += 1
        try:
            if kind == "embeddings":
                await self._embed(path, deployment, body, send)
            else:
                await self._complete(path, wire.read_request(body, chat="chat" in kind, deployment=deployment), send)
        finally:
            self._in_flight -= 1

    async def _complete(self, path: str, request: wire.CompletionRequest, send: Send) -> None:
        text = answer(request.messages, wants_json=request.wants_json, schema=request.schema)
        text, reason = wire.cut(text, request.max_tokens, request.stop)
        used = wire.usage(wire.count_prompt_tokens(request.messages), wire.count_tokens(text) * request.choices)
        self._count(path, used["prompt_tokens"], used["completion_tokens"])
        await asyncio.sleep(self._latency_s)
        if request.stream:
            return await _send_events(send, wire.chunks(request, text, reason, used))
        return await _send_json(send, 200, wire.completion(request, text, reason, used))

    async def _embed(self, path: str, deployment: str | None, body: Mapping[str, Any], send: Send) -> None:
        model = wire.read_model(body, deployment)
        texts = [body["input"]] if isinstance(body.get("input"), str) else body.get("input")
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise wire.RequestRefused(400, "'input' must be a string or an array of strings.", param="input")
        tokens = sum(map(wire.count_tokens, texts))
        self._count(path, tokens, 0)
        await asyncio.sleep(self._latency_s)
        base64 = body.get("encoding_format") == "base64"
        vectors = [embed(text, base64=base64) for text in texts]
        await _send_json(send, 200, wire.embeddings(model, vectors, tokens))

    def _count(self, path: str, prompt_tokens: int, completion_tokens: int) -> None:
        before = self._stats
        self._stats = StandInStats(
            calls=before.calls + 1,
            by_path={**before.by_path, path: before.by_path.get(path, 0) + 1},
            prompt_tokens=before.prompt_tokens + prompt_tokens,
            completion_tokens=before.completion_tokens + completion_tokens,
            in_flight_max=max(before.in_flight_max, self._in_flight),
        )


class RateLimit:
    """A bucket that holds one second's calls and is filled all the time.

    Args:
        calls_per_second: more than 0.
        clock: seconds that only go forward.
    """

    def __init__(self, calls_per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = calls_per_second
        self._most = max(1.0, calls_per_second)
        self._left = self._most
        self._clock = clock
        self._at = clock()

    def take(self) -> None:
        """Let a call through.

        Raises:
            RequestRefused: 429, with the time until the next one in whole seconds and in milliseconds.
        """
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left >= 1:
            self._left -= 1
            return
        wait_s = (1 - self._left) / self._rate
        raise wire.RequestRefused(
            429,
            f"The stand-in model allows {self._rate:g} calls per second.",
            code="rate_limit_exceeded",
            headers={"retry-after": str(math.ceil(wait_s)), "retry-after-ms": str(math.ceil(wait_s * 1000))},
        )


def serve(
    *,
    port: int = 0,
    latency_ms: float = 0.0,
    calls_per_second: float | None = None,
    exit_with_stdin: bool = False,
) -> None:
    """Serve until interrupted, or until standard input ends; one line of JSON on standard output names the port.

    Raises:
        UsageError: the port cannot be used.
    """
    listener = _listen(port)
    config = uvicorn.Config(
        StandInApp(latency_ms=latency_ms, calls_per_second=calls_per_second),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=_KEEP_ALIVE_S,
    )
    server = _AnnouncingServer(config)
    if exit_with_stdin:
        threading.Thread(target=_exit_with_stdin, args=[server], daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


class _AnnouncingServer(uvicorn.Server):
    """Says where it listens as soon as it does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        port = sockets[0].getsockname()[1] if sockets else 0
        sys.stdout.write(json.dumps({"port": port, "pid": os.getpid(), "stand_in": True}) + "\n")
        sys.stdout.flush()


def _listen(port: int) -> socket.socket:
    # With the protocol named, asyncio sets TCP_NODELAY; without it each answer waits 40 ms for an acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if os.name == "posix":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise UsageError.of(
            "the stand-in model cannot listen",
            where=f"127.0.0.1:{port}",
            found=str(error),
            fix="Choose another port, or 0 for any free one.",
        ) from error
    return listener


def _exit_with_stdin(server: uvicorn.Server) -> None:
    while sys.stdin.buffer.read(4096):
        pass
    server.should_exit = server.force_exit = True


def _require_key(scope: Scope) -> None:
    headers = dict(scope["headers"])
    bearer = headers.get(b"authorization", b"").partition(b" ")[2].strip()
    if not bearer and not headers.get(b"api-key", b"").strip():
        raise wire.RequestRefused(
            401,
            "You didn't provide an API key. The stand-in model accepts any that is not empty, as "
            "'Authorization: Bearer KEY' or 'api-key: KEY'.",
            code="invalid_api_key",
        )


def _list_models() -> dict[str, Any]:
    model = {"id": f"{wire.MODEL_PREFIX}any", "object": "model", "created": 0, "owned_by": "llmops"}
    return {"object": "list", "data": [model]}


async def _receive_body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _send_json(send: Send, status: int, body: Mapping[str, Any], *more: tuple[bytes, bytes]) -> None:
    payload = json.dumps(body, ensure_ascii=False).encode("utf-8")
    length = (b"content-length", str(len(payload)).encode("ascii"))
    await _send_start(send, status, b"application/json", length, *more)
    await send({"type": "http.response.body", "body": payload})


async def _send_events(send: Send, events: Iterable[bytes]) -> None:
    await _send_start(send, 200, b"text/event-stream; charset=utf-8", (b"cache-control", b"no-cache"))
    for event in events:
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _send_start(send: Send, status: int, content_type: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", content_type), LABEL, *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
