"""Serve a plain Python callable, without prompt flow in the interpreter."""

from __future__ import annotations

import asyncio
import inspect
import json
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

_JSON = (b"content-type", b"application/json")
_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}


class LoadedCallable(Protocol):
    """The worker's view of a callable, which is the server's too."""

    target: Callable[..., Any]

    def run_line(self, inputs: dict[str, Any], line_id: str) -> tuple[Any, Any]:
        """Return outputs and what only a worker needs; raise what the callable raises."""


def load(message: dict[str, Any]) -> PythonApp:
    """Import the callable exactly as the worker does; whatever that raises goes to the router."""
    from _llmops_worker import callable_flow
    from _llmops_worker.serve import json_value

    return PythonApp(callable_flow.load(message), json_value, threads=message["threads"])


class PythonApp:
    """The ASGI application: `/score`, `/health` and `/swagger.json`.

    Args:
        to_json: turns outputs into what JSON has words for.
        threads: calls that may be in progress at once.
    """

    def __init__(self, flow: LoadedCallable, to_json: Callable[[Any], Any], *, threads: int) -> None:
        self._flow = flow
        self._to_json = to_json
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="score")
        self._parameters = inspect.signature(flow.target).parameters

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Answer one HTTP request."""
        status, body = await self._answer(scope["method"], scope["path"], receive)
        payload = json.dumps(body, ensure_ascii=False).encode("utf-8", "backslashreplace")
        headers = [_JSON, (b"content-length", str(len(payload)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": payload})

    async def _answer(self, method: str, path: str, receive: Any) -> tuple[int, Any]:
        if path == "/score":
            return await self._score(await _read(receive)) if method == "POST" else (405, _error("POST only"))
        if path == "/health":
            return 200, {"status": "Healthy"}
        if path == "/swagger.json":
            return 200, self._describe()
        return 404, _error(f"no such path: {path}")

    async def _score(self, raw: bytes) -> tuple[int, Any]:
        try:
            inputs = json.loads(raw or b"{}")
        except ValueError as error:
            return 400, _error(f"the body is not JSON: {error}")
        if problem := self._judge(inputs):
            return 400, _error(problem)
        try:
            loop = asyncio.get_running_loop()
            outputs, _ = await loop.run_in_executor(self._pool, self._flow.run_line, inputs, "")
            return 200, self._to_json(outputs)
        except Exception as error:  # whatever a flow raises is its answer to this request
            traceback.print_exc()
            return 500, _error(f"{type(error).__name__}: {error}")

    def _judge(self, inputs: Any) -> str:
        if not isinstance(inputs, dict):
            return "the body is no JSON object"
        kinds = {parameter.kind for parameter in self._parameters.values()}
        missing = [name for name, one in self._parameters.items() if _is_needed(one) and name not in inputs]
        if missing:
            return f"missing inputs: {', '.join(missing)}"
        unknown = [] if inspect.Parameter.VAR_KEYWORD in kinds else sorted(inputs.keys() - self._parameters.keys())
        return f"unknown inputs: {', '.join(unknown)}" if unknown else ""

    def _describe(self) -> dict[str, Any]:
        properties = {
            name: {"type": _TYPES[one.annotation]} if _is_known(one.annotation) else {}
            for name, one in self._parameters.items()
            if one.kind is not inspect.Parameter.VAR_KEYWORD
        }
        needed = [name for name, one in self._parameters.items() if _is_needed(one)]
        schema = {"type": "object", "properties": properties, **({"required": needed} if needed else {})}
        answer = {"200": {"description": "outputs", "content": {"application/json": {"schema": {"type": "object"}}}}}
        score = {"requestBody": {"content": {"application/json": {"schema": schema}}}, "responses": answer}
        title = getattr(self._flow.target, "__name__", type(self._flow.target).__name__)
        return {
            "openapi": "3.0.0",
            "info": {"title": title, "version": "1.0.0"},
            "paths": {"/score": {"post": score}},
        }


def _is_known(annotation: Any) -> bool:
    return isinstance(annotation, type) and annotation in _TYPES


def _is_needed(parameter: inspect.Parameter) -> bool:
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return parameter.default is inspect.Parameter.empty and parameter.kind not in variadic


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message}}


async def _read(receive: Any) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)
