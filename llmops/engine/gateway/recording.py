"""Recordings: answers of models in a file that can be committed, and answered from without network or key.

JSON Lines: a header, then one call each with the request, so that people can read what they commit. No header of a
request is in it, so no key is.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmops.engine.gateway.calls import ModelCall, Usage
from llmops.engine.gateway.store import StoredAnswer
from llmops.errors import UsageError

_HEADER = {"kind": "recording", "schema_version": 1}


class Recording:
    """Adds answers to a recording; those that it has already are not written again.

    Args:
        path: is created if need be. A last line that was cut off by a crash is taken away.
        mask: blanks out what must not be written.

    Raises:
        UsageError: there is a file that is no recording, or it cannot be written.
    """

    def __init__(self, path: Path, mask: Callable[[bytes], bytes]) -> None:
        self._mask = mask
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._known = set(read_recording(path)) if path.exists() and path.stat().st_size else set()
            self._handle = path.open("ab+")
            _drop_torn_line(path)
            if not path.stat().st_size:
                self._write(_HEADER)
        except OSError as error:
            raise UsageError.of("the recording cannot be written", where=str(path), found=str(error)) from error

    def add(self, key: str, call: ModelCall, answer: StoredAnswer) -> None:
        """Append one call, unless the recording has it."""
        if key in self._known:
            return
        self._known.add(key)
        request = {"method": call.method, "path": call.path.partition("?")[0], "body": call.document}
        self._write({"key": key, "request": request, "answer": _answer_to_json(answer)})

    def close(self) -> None:
        """Close the file."""
        self._handle.close()

    def _write(self, value: Mapping[str, Any]) -> None:
        text = json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")
        self._handle.write(self._mask(text) + b"\n")
        self._handle.flush()


def read_recording(path: Path) -> dict[str, StoredAnswer]:
    """Read a recording: key to answer.

    Raises:
        UsageError: the file is missing or is no recording.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise UsageError.of(
            "the recording cannot be read",
            where=str(path),
            found=error.strerror or str(error),
            fix="Make one with `--record FILE`.",
        ) from error
    try:
        if not lines or json.loads(lines[0]) != _HEADER:
            raise ValueError("the first line is not a recording's")
        entries = [json.loads(line) for line in lines[1:]]
        return {entry["key"]: _answer_from_json(entry["answer"]) for entry in entries}
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError.of(
            "not a recording of this version", where=str(path), found=str(error), fix="Make one with `--record FILE`."
        ) from error


def _drop_torn_line(path: Path) -> None:
    whole = path.read_bytes().rpartition(b"\n")[:2]
    size = sum(map(len, whole))
    if size < path.stat().st_size:
        with path.open("rb+") as handle:
            handle.truncate(size)


def _answer_to_json(answer: StoredAnswer) -> dict[str, Any]:
    try:
        body: Mapping[str, str] = {"text": answer.body.decode()}
    except UnicodeDecodeError:
        body = {"base64": base64.b64encode(answer.body).decode("ascii")}
    usage: Sequence[int] | None = answer.usage
    return {
        "status": answer.status,
        "content_type": answer.content_type,
        "model": answer.model,
        "usage": usage,
        "stand_in": answer.stand_in,
        **body,
    }


def _answer_from_json(value: Mapping[str, Any]) -> StoredAnswer:
    body = value["text"].encode() if "text" in value else base64.b64decode(value["base64"])
    return StoredAnswer(
        status=value["status"],
        content_type=value["content_type"],
        body=body,
        usage=Usage(*value["usage"]) if value["usage"] else None,
        model=value["model"],
        stand_in=value["stand_in"],
    )
