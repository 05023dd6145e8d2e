"""The gateway's HTTP side: a plain ASGI application.

`/<token>/<connection>/<path>` is a model call of the run that the token stands for. `/-/…` are the gateway's own
pages, for the driver alone.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import unquote

from llmops.engine.gateway.calls import read_call
from llmops.engine.gateway.service import ModelService, Refused, Reply, Run
from llmops.engine.standin.server import StandInApp

_REGISTRATION_S = 5

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class GatewayApp:
    """Takes requests apart and puts replies together.

    Args:
        service: answers model calls.
        stand_in: for its counters.
        admin: token of the gateway's own pages.
    """

    def __init__(self, service: ModelService, stand_in: StandInApp, admin: str) -> None:
        self._service = service
        self._stand_in = stand_in
        self._admin = admin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        parts = scope["raw_path"].decode("latin-1").split("/", 3)
        owner, name, rest = (*parts[1:], "", "", "")[:3]
        body = await _receive_body(receive)
        if owner == "-":
            return await self._answer_driver(scope, name, rest, send)
        run = await self._await_run(owner)
        upstream = run.upstreams.get(unquote(name)) if run else None
        if run is None or upstream is None:
            return await _send_error(send, 404, "UnknownRun", "no such run or connection")
        query = scope["query_string"].decode("latin-1")
        path = f"/{rest}?{query}" if query else f"/{rest}"
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        call = read_call(scope["method"], path, headers, body)
        try:
            reply = await self._service.answer(run, upstream, call, scope["headers"])
        except Refused as refusal:
            # 403 is what clients do not repeat: promptflow-tools would sleep and repeat 429 and 5xx a hundred times.
            return await _send_error(send, 403, refusal.reason, refusal.message)
        return await _send_reply(send, reply)

    async def _await_run(self, token: str) -> Run | None:
        """Find a run; its registration may still be on its way when its first call is here."""
        for _ in range(_REGISTRATION_S * 20 if token.startswith("llmops-") else 0):
            if run := self._service.find_run(token):
                return run
            await asyncio.sleep(0.05)
        return None

    async def _answer_driver(self, scope: Scope, page: str, detail: str, send: Send) -> None:
        given = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        if not hmac.compare_digest(given, f"Bearer {self._admin}"):
            return await _send_error(send, 403, "NotForYou", "this page is the driver's")
        if page == "runs" and (run := self._service.find_run(detail)):
            return await _send_json(send, 200, {**run.stats(), "problem": self._service.problem})
        if page == "stand-in":
            return await _send_json(send, 200, dataclasses.asdict(self._stand_in.stats))
        return await _send_error(send, 404, "UnknownPage", "no such page")


async def _receive_body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _send_error(send: Send, status: int, reason: str, message: str) -> None:
    error = {"message": f"llmops: {message}", "type": "llmops_gateway", "param": None, "code": reason}
    await _send_json(send, status, {"error": error}, (b"x-should-retry", b"false"))


async def _send_json(send: Send, status: int, body: Mapping[str, Any], *more: tuple[bytes, bytes]) -> None:
    payload = json.dumps(body).encode()
    await _send_reply(send, Reply(status=status, headers=[(b"content-type", b"application/json"), *more], body=payload))


async def _send_reply(send: Send, reply: Reply) -> None:
    if isinstance(reply.body, bytes):
        headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})
        return
    await send({"type": "http.response.start", "status": reply.status, "headers": list(reply.headers)})
    if await _send_events(send, reply.body):
        await send({"type": "http.response.body", "body": b""})


async def _send_events(send: Send, events: AsyncIterator[bytes]) -> bool:
    """Send events as they come; False when the stream broke: the server then closes the connection without an end."""
    try:
        async for event in events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
    except Refused:
        return False
    return True
