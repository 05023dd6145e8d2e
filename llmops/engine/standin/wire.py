"""The OpenAI wire format: requests in, answers, chunks and errors out.

Source: the OpenAI API reference for chat completions, completions, embeddings and errors; Azure OpenAI uses the same
bodies under `/openai/deployments/{deployment}/`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import llmops
from llmops.engine.standin.prompt import Message

MODEL_PREFIX = "stand-in/"
FINGERPRINT = f"stand-in-{llmops.__version__}"
BYTES_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_CHUNKS = re.compile(r"\S*\s*")


class RequestRefused(Exception):
    """The request gets an OpenAI-shaped error.

    Args:
        status: HTTP status, 400 to 499.
        message: for people.
        param: the parameter at fault, if any.
        code: OpenAI's error code, if there is a fitting one.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.body = {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


@dataclass(frozen=True, kw_only=True)
class CompletionRequest:
    """A valid request for text.

    Attributes:
        chat: whether it came to a chat path.
        choices: how many answers are asked for, at least one; all are equal.
        max_tokens: where to cut the answer; None for no limit.
        wants_json: whether `response_format` asks for a JSON object.
        schema: the JSON Schema of `response_format`, if there is one.
    """

    chat: bool
    model: str
    messages: tuple[Message, ...]
    choices: int
    max_tokens: int | None
    stop: tuple[str, ...]
    stream: bool
    include_usage: bool
    wants_json: bool
    schema: Mapping[str, Any] | None


def count_tokens(text: str) -> int:
    """Count tokens by the stand-in's own rule: one for each started four bytes of UTF-8.

    It is close to what real tokenizers give for English, and needs no vocabulary.
    """
    return -(-len(text.encode("utf-8")) // BYTES_PER_TOKEN)


def count_prompt_tokens(messages: Sequence[Message]) -> int:
    """Count the tokens of a prompt: those of its texts and four for each message."""
    return sum(count_tokens(message.text) + TOKENS_PER_MESSAGE for message in messages)


def cut(text: str, max_tokens: int | None, stop: Sequence[str]) -> tuple[str, str]:
    """Cut an answer at the first stop string and at the token limit; return it with its finish reason."""
    for mark in stop:
        text = text.partition(mark)[0]
    if max_tokens is None or count_tokens(text) <= max_tokens:
        return text, "stop"
    return text.encode("utf-8")[: max_tokens * BYTES_PER_TOKEN].decode("utf-8", "ignore"), "length"


def read_body(raw: bytes) -> dict[str, Any]:
    """Parse a request's body.

    Raises:
        RequestRefused: it is not a JSON object.
    """
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise RequestRefused(400, "We could not parse the JSON body of your request.") from None
    if not isinstance(body, dict):
        raise RequestRefused(400, "The body must be a JSON object.")
    return body


def read_request(body: Mapping[str, Any], *, chat: bool, deployment: str | None) -> CompletionRequest:
    """Check a request for text.

    Args:
        body: the parsed JSON.
        chat: whether it came to a chat path; a completion has a prompt in place of messages.
        deployment: of the Azure form of the path, where it stands for the model.

    Raises:
        RequestRefused: a parameter is missing, malformed or not supported.
    """
    for name in ("tools", "functions"):
        if body.get(name):
            raise RequestRefused(400, f"The stand-in model does not support '{name}'.", param=name)
    response_format = body.get("response_format") or {}
    if not isinstance(response_format, dict):
        raise _wrong_type("response_format", "an object")
    stream_options = body.get("stream_options") or {}
    return CompletionRequest(
        chat=chat,
        model=read_model(body, deployment),
        messages=_read_messages(body) if chat else _read_prompt(body),
        choices=_read_integer(body, "n", smallest=1) or 1,
        max_tokens=_read_integer(body, "max_completion_tokens", smallest=1)
        or _read_integer(body, "max_tokens", smallest=1),
        stop=_read_stop(body),
        stream=bool(body.get("stream")),
        include_usage=isinstance(stream_options, dict) and bool(stream_options.get("include_usage")),
        wants_json=response_format.get("type") in {"json_object", "json_schema"},
        schema=_read_schema(response_format),
    )


def read_model(body: Mapping[str, Any], deployment: str | None) -> str:
    """Name the model that was asked for; Azure's path names it instead of the body."""
    model = deployment or body.get("model")
    if not isinstance(model, str) or not model:
        raise RequestRefused(400, "You must provide a model parameter.", param="model")
    return model


def _read_messages(body: Mapping[str, Any]) -> tuple[Message, ...]:
    messages = body.get("messages")
    if messages is None:
        raise RequestRefused(400, "Missing required parameter: 'messages'.", param="messages")
    if not isinstance(messages, list) or not messages:
        raise _wrong_type("messages", "an array with at least one message")
    return tuple(_read_message(message, f"messages[{index}]") for index, message in enumerate(messages))


def _read_message(message: Any, param: str) -> Message:
    if not isinstance(message, dict):
        raise _wrong_type(param, "an object")
    if message.get("role") not in _ROLES:
        raise _wrong_type(f"{param}.role", f"one of {', '.join(sorted(_ROLES))}")
    content = message.get("content")
    if isinstance(content, str) or content is None:
        return Message(role=message["role"], text=content or "")
    if not isinstance(content, list):
        raise _wrong_type(f"{param}.content", "a string or an array of parts")
    parts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in content]
    if not all(isinstance(part, str) for part in parts):
        raise RequestRefused(400, "The stand-in model reads text parts only.", param=f"{param}.content")
    return Message(role=message["role"], text="\n".join(str(part) for part in parts))


def _read_prompt(body: Mapping[str, Any]) -> tuple[Message, ...]:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise _wrong_type("prompt", "a string")
    return (Message(role="user", text=prompt),)


def _read_integer(body: Mapping[str, Any], name: str, *, smallest: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < smallest:
        raise _wrong_type(name, f"an integer, at least {smallest}")
    return value


def _read_stop(body: Mapping[str, Any]) -> tuple[str, ...]:
    stop = body.get("stop") or []
    marks = [stop] if isinstance(stop, str) else stop
    if not isinstance(marks, list) or not all(isinstance(mark, str) and mark for mark in marks):
        raise _wrong_type("stop", "a string or an array of strings")
    return tuple(marks)


def _read_schema(response_format: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if response_format.get("type") != "json_schema":
        return None
    holder = response_format.get("json_schema")
    schema = holder.get("schema") if isinstance(holder, dict) else None
    if not isinstance(schema, dict):
        raise _wrong_type("response_format.json_schema.schema", "an object")
    return schema


def _wrong_type(param: str, expected: str) -> RequestRefused:
    return RequestRefused(400, f"Invalid value for '{param}': expected {expected}.", param=param, code="invalid_type")


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """Build the `usage` object of an answer."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def completion(request: CompletionRequest, text: str, reason: str, used: Mapping[str, int]) -> dict[str, Any]:
    """Build a whole answer. `created` is 0, so that equal requests get equal bytes."""
    kind = "chat.completion" if request.chat else "text_completion"
    choices = [_choice(request, index, text, reason) for index in range(request.choices)]
    return {**_envelope(request, kind, text), "choices": choices, "usage": dict(used)}


def chunks(request: CompletionRequest, text: str, reason: str, used: Mapping[str, int]) -> Iterator[bytes]:
    """Build a streamed answer as server-sent events, one for each word, ended by `[DONE]`."""
    kind = "chat.completion.chunk" if request.chat else "text_completion"
    envelope = _envelope(request, kind, text)
    pieces = [piece for piece in _CHUNKS.findall(text) if piece]
    for index in range(request.choices):
        if request.chat:
            yield _event({**envelope, "choices": [_delta(index, {"role": "assistant", "content": ""}, None)]})
        for piece in pieces:
            choice = _delta(index, {"content": piece}, None) if request.chat else _text_choice(index, piece, None)
            yield _event({**envelope, "choices": [choice]})
        last = _delta(index, {}, reason) if request.chat else _text_choice(index, "", reason)
        yield _event({**envelope, "choices": [last]})
    if request.include_usage:
        yield _event({**envelope, "choices": [], "usage": dict(used)})
    yield b"data: [DONE]\n\n"


def embeddings(model: str, vectors: Sequence[Sequence[float] | str], prompt_tokens: int) -> dict[str, Any]:
    """Build the answer of an embeddings request."""
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    used = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
    return {"object": "list", "model": MODEL_PREFIX + model, "data": data, "usage": used}


def _envelope(request: CompletionRequest, kind: str, text: str) -> dict[str, Any]:
    seen = "\x1f".join([request.model, *(message.text for message in request.messages), text])
    identity = hashlib.blake2b(seen.encode("utf-8"), digest_size=12).hexdigest()
    return {
        "id": f"chatcmpl-standin-{identity}" if request.chat else f"cmpl-standin-{identity}",
        "object": kind,
        "created": 0,
        "model": MODEL_PREFIX + request.model,
        "system_fingerprint": FINGERPRINT,
    }


def _choice(request: CompletionRequest, index: int, text: str, reason: str) -> dict[str, Any]:
    if not request.chat:
        return _text_choice(index, text, reason)
    message = {"role": "assistant", "content": text, "refusal": None}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": reason}


def _text_choice(index: int, text: str, reason: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}


def _delta(index: int, delta: Mapping[str, str], reason: str | None) -> dict[str, Any]:
    return {"index": index, "delta": dict(delta), "logprobs": None, "finish_reason": reason}


def _event(body: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False).encode("utf-8") + b"\n\n"
