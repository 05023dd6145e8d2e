"""Serve a plain Python function, without prompt flow in the interpreter."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import inspect
import json
import math
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

OUTPUT = "output"
"""Name of the output of a function that returns no mapping, as prompt flow names it."""

_JSON = (b"content-type", b"application/json")
_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}


def load(message: dict[str, Any]) -> PythonApp:
    """Import `package.module:function`; whatever that raises goes to the router."""
    module, _, name = message["flow_file"].partition(":")
    target: Any = importlib.import_module(module)
    for part in name.split("."):
        target = getattr(target, part)
    return PythonApp(target)


class PythonApp:
    """The ASGI application: `/score`, `/health` and `/swagger.json`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._parameters = inspect.signature(function, eval_str=True).parameters

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Answer one HTTP request."""
        status, body = await self._answer(scope["method"], scope["path"], receive)
        payload = json.dumps(body, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace")
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
            return 200, _outputs(await self._call(inputs))
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

    async def _call(self, inputs: dict[str, Any]) -> Any:
        if inspect.iscoroutinefunction(self._function):
            return await self._function(**inputs)
        result = await asyncio.to_thread(self._function, **inputs)
        return await result if inspect.isawaitable(result) else result

    def _describe(self) -> dict[str, Any]:
        properties = {
            name: {"type": _TYPES.get(one.annotation, "object")} if one.annotation in _TYPES else {}
            for name, one in self._parameters.items()
            if one.kind is not inspect.Parameter.VAR_KEYWORD
        }
        needed = [name for name, one in self._parameters.items() if _is_needed(one)]
        schema = {"type": "object", "properties": properties, **({"required": needed} if needed else {})}
        answer = {"200": {"description": "outputs", "content": {"application/json": {"schema": {"type": "object"}}}}}
        score = {"requestBody": {"content": {"application/json": {"schema": schema}}}, "responses": answer}
        return {
            "openapi": "3.0.0",
            "info": {"title": self._function.__name__, "version": "1.0.0"},
            "paths": {"/score": {"post": score}},
        }


def _is_needed(parameter: inspect.Parameter) -> bool:
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return parameter.default is inspect.Parameter.empty and parameter.kind not in variadic


def _outputs(value: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    result = _json(value if isinstance(value, dict) else {OUTPUT: value})
    assert isinstance(result, dict)
    return result


def _json(value: Any) -> Any:
    """Turn a value into what strict JSON has a word for: NaN and infinities become text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_json(item) for item in value]
    return value


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message}}


async def _read(receive: Any) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)
