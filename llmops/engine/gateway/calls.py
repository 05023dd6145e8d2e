"""Read a model call: what it asks, which line makes it, what it is called in the cache, what its answer used."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

CACHE_VERSION = "1"
"""Part of every key; raised when a stored answer would be read in another way."""

LINE_HEADER = "x-llmops-line"
PROMPTFLOW_HEADER = "ms-azure-ai-promptflow"

_MODEL_PATH = re.compile(r"/(?:chat/completions|completions|embeddings|responses)$")
_DEPLOYMENT = re.compile(r"/deployments/([^/]+)/")
_LINE = re.compile(r"(\d+)-[0-9a-f]+-\d+")
_MEANT_FOR_ONE = {"openai-organization", "openai-project", "openai-beta"}
_PROMPT_SHOWN = 160

Headers = Mapping[str, str]


class Usage(NamedTuple):
    """Tokens as the model reported them."""

    prompt: int
    completion: int

    @property
    def total(self) -> int:
        """Both together."""
        return self.prompt + self.completion


@dataclass(frozen=True, kw_only=True)
class ModelCall:
    """One request of a worker.

    Attributes:
        path: after the connection's address, with the query.
        headers: by lower-case name.
        body: as the worker sent it.
        document: the same as JSON; None when it is no JSON object.
        line: id of the line that makes the call; empty when the request does not say.
        content: digest of what is asked, the same for every repeat and every service.
    """

    method: str
    path: str
    headers: Headers
    body: bytes
    document: Mapping[str, Any] | None
    line: str
    content: str

    @property
    def is_kept(self) -> bool:
        """Whether the answer depends on the request alone, so that it can be stored."""
        is_model = self.method == "POST" and _MODEL_PATH.search(self.path.partition("?")[0]) is not None
        return is_model and self.document is not None and not self.document.get("background")

    @property
    def repeat(self) -> int:
        """Index of the measurement that the line belongs to."""
        match = _LINE.fullmatch(self.line)
        return int(match[1]) if match else 0

    @property
    def model(self) -> str:
        """The model, or Azure's deployment, that is asked."""
        match = _DEPLOYMENT.search(self.path)
        return match[1] if match else str((self.document or {}).get("model", ""))

    @property
    def streams(self) -> bool:
        """Whether the answer is asked for as server-sent events."""
        return bool((self.document or {}).get("stream"))


def read_call(method: str, path: str, headers: Headers, body: bytes) -> ModelCall:
    """Read one request."""
    try:
        document = json.loads(body) if body else None
    except (ValueError, RecursionError):
        document = None
    canonical = (
        body
        if document is None
        else json.dumps(document, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
    )
    digest = hashlib.sha256(f"{method} {_without_version(path)}\n".encode())
    digest.update(canonical)
    return ModelCall(
        method=method,
        path=path,
        headers=headers,
        body=body,
        document=document if isinstance(document, dict) else None,
        line=find_line(headers),
        content=digest.hexdigest(),
    )


def _without_version(path: str) -> str:
    """Leave out Azure's API version: it belongs to the connection, and the connection's identity has it."""
    bare, _, query = path.partition("?")
    others = "&".join(part for part in query.split("&") if part and not part.startswith("api-version="))
    return f"{bare}?{others}" if others else bare


def find_line(headers: Headers) -> str:
    """Find the line that makes a call: promptflow's own header, ours, or W3C baggage; empty when none names one."""
    tracking = headers.get(PROMPTFLOW_HEADER, "")
    if tracking:
        try:
            return str(json.loads(tracking).get("root_run_id") or "")
        except (ValueError, AttributeError):
            return ""
    if LINE_HEADER in headers:
        return headers[LINE_HEADER]
    members = (member.strip().partition("=") for member in headers.get("baggage", "").split(","))
    return next((value.partition(";")[0].strip() for name, _, value in members if name.strip() == LINE_HEADER), "")


def recording_key(call: ModelCall, occurrence: int) -> str:
    """Name an answer in a recording: by what is asked, not by which service answered.

    Args:
        occurrence: how many times the line asked the very same before; a sample drawn twice is two samples.
    """
    return _digest(call.content, str(call.repeat), str(occurrence))


def cache_key(call: ModelCall, occurrence: int, identity: str) -> str:
    """Name an answer in the cache: what is asked, for which repeat, of which service."""
    meant = [f"{name}:{call.headers[name]}" for name in sorted(_MEANT_FOR_ONE & call.headers.keys())]
    return _digest(CACHE_VERSION, identity, *meant, recording_key(call, occurrence))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def read_usage(document: Any) -> Usage | None:
    """Return the tokens that an answer reports; None when it reports none.

    Source: `usage` of chat completions, completions and embeddings; the responses API has other names in it.
    """
    if not isinstance(document, Mapping):
        return None
    used = document.get("usage")
    if not isinstance(used, Mapping):
        return read_usage(document.get("response"))
    prompt = used.get("prompt_tokens", used.get("input_tokens"))
    completion = used.get("completion_tokens", used.get("output_tokens", 0))
    if type(prompt) is not int or type(completion) is not int or min(prompt, completion) < 0:
        return None
    return Usage(prompt, completion)


def split_events(body: bytes) -> list[bytes]:
    """Split server-sent events, each with its end."""
    parts = re.split(rb"(?<=\n\n)|(?<=\r\n\r\n)", body)
    return [part for part in parts if part]


def event_documents(events: Iterator[bytes] | list[bytes]) -> Iterator[Mapping[str, Any]]:
    """Yield the JSON objects that events carry."""
    for event in events:
        for line in event.splitlines():
            if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
                try:
                    document = json.loads(line[5:])
                except ValueError:
                    continue
                if isinstance(document, dict):
                    yield document


def is_usage_only(event: bytes) -> bool:
    """Tell the event that a stream has only because it was asked for its token counts."""
    if b'"usage"' not in event:
        return False
    document = next(event_documents([event]), {})
    return document.get("choices") == [] and isinstance(document.get("usage"), dict)


def describe_prompt(call: ModelCall) -> str:
    """Show the end of what is asked, which is where prompts differ, on one line."""
    document = call.document or {}
    messages = document.get("messages") or document.get("input") or document.get("prompt") or ""
    if isinstance(messages, list) and messages:
        last = messages[-1]
        messages = last.get("content", last) if isinstance(last, dict) else last
    text = " ".join((messages if isinstance(messages, str) else json.dumps(messages, ensure_ascii=False)).split())
    shown = text if len(text) <= _PROMPT_SHOWN else f"…{text[-_PROMPT_SHOWN:]}"
    return f"{call.method} {call.path.partition('?')[0]} of {call.model or 'no model'}: {shown!r}"
