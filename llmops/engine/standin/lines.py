"""Lines of a prompt: bullets, `Key: value` pairs, JSON documents."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

NAME_WORDS = 4
"""Words that the name of a category or of a key may have."""

LABEL_KEY = re.compile(
    r"(?:a|answer|assistant|bucket|categor\w*|class|classification|expected|group|intent|kind|label|output|prediction"
    r"|response|result|sentiment|tag|topic|type)",
    re.IGNORECASE,
)
"""Keys under which an example or a list says its category."""

MARKS = " \t\"'`*_.,;:()[]{}<>#-"
"""What may stand around a name without being part of it."""

_KEY_VALUE = re.compile(
    r"\s*(?:#+\s*|\*\*|[-*•]\s+)?([A-Za-z][\w -]{0,24}?)\s*(?:\*\*)?\s*[:\uff1a](?:\*\*)?(?!//)\s*(.*)"
)
_OPENS_JSON = re.compile(r"\s*(?:[\[{]\s*$|\[\s*\{|\{\s*\")")
_BULLET = re.compile(r"\s*(?:[-*•‣·]|\(?\d{1,2}[.)]|\(?[a-z][.)])\s+(\S.*)")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line, or one JSON document over several lines.

    Attributes:
        key, value: of a `Key: value` line; empty otherwise.
        bullet: what stands behind a bullet; empty otherwise.
        data: the JSON document, or a Python literal that looks like one; None otherwise.
    """

    text: str
    key: str = ""
    value: str = ""
    bullet: str = ""
    data: Any = field(default=None, compare=False)

    @property
    def is_blank(self) -> bool:
        """Whether nothing can be seen in it."""
        return not self.text.strip()

    @property
    def documents(self) -> list[dict[str, Any]]:
        """The JSON objects of the line: itself or the items of its array."""
        items = self.data if isinstance(self.data, list) else [self.data]
        return [item for item in items if isinstance(item, dict)]


def normalise(name: str) -> str:
    """Fold a category's name for comparison: case, quotes, marks and inner spaces do not count."""
    return " ".join(name.strip(MARKS).casefold().split())


def read_lines(text: str) -> list[Line]:
    """Split a text into lines, with JSON over several lines as one."""
    return _join_documents([read_line(line) for line in text.split("\n")])


class _Document(NamedTuple):
    """A JSON document and the index of the line after it."""

    data: Any
    end: int


def _join_documents(lines: list[Line]) -> list[Line]:
    """Replace the lines of a JSON document that spans several by one line that holds it."""
    joined: list[Line] = []
    index = 0
    while index < len(lines):
        line = lines[index]
        document = _read_document(lines, index) if line.data is None and _OPENS_JSON.match(line.text) else None
        joined.append(Line(text=line.text, data=document.data) if document else line)
        index = document.end if document else index + 1
    return joined


def _read_document(lines: Sequence[Line], start: int) -> _Document | None:
    text = "\n".join(line.text for line in lines[start:])
    try:
        data, end = json.JSONDecoder().raw_decode(text.lstrip())
    except (ValueError, RecursionError):
        return None
    consumed = len(text) - len(text.lstrip()) + end
    return _Document(data=data, end=start + text[:consumed].count("\n") + 1)


@lru_cache(maxsize=8192)
def read_line(text: str) -> Line:
    """Read one line."""
    bullet = _BULLET.match(text)
    pair = _KEY_VALUE.match(text)
    key, value = (pair[1].strip(), pair[2].strip()) if pair and len(pair[1].split()) <= NAME_WORDS else ("", "")
    return Line(text=text, key=key, value=value, bullet=bullet[1] if bullet else "", data=read_literal(text.strip()))


def read_literal(text: str) -> Any:
    """Read a line that is a JSON object or a Python literal of one, as templates print them; else None."""
    if not (text.startswith("{") and text.endswith("}")):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None


def join_lines(lines: Iterable[Line]) -> str:
    """Join lines to a text without blank ends."""
    return "\n".join(line.text for line in lines).strip()


def end_of_block(lines: Sequence[Line], start: int) -> int:
    """Find the first blank line at or after an index, else the end."""
    return next((i for i in range(start, len(lines)) if lines[i].is_blank), len(lines))
