"""Text from rows, models and flows, made fit to be shown: nothing invisible, nothing that a CI system obeys."""

from __future__ import annotations

import json
import re
from typing import Any

_LINE_END = re.compile(r"\r\n?")

# Controls, bidirectional controls, invisible separators and tags, lone surrogates, and what XML 1.0 forbids.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)

# Azure Pipelines finds `##vso[` anywhere in a line; the runners of both systems find `##[`.
_LOG_COMMAND = re.compile(r"##(?=(?:[A-Za-z.]+)?\[)")
# The runners end a line at a carriage return too, and pass over spaces before a command.
_LEADING_COMMAND = re.compile(r"(^|[\r\n])([^\S\r\n]*):(?=:)")


def reveal(text: str) -> str:
    r"""Replace characters that cannot be seen or that reorder text by their code point, such as `[U+202E]`.

    Tabs and line ends stay; `\r\n` and `\r` become `\n`. What is left can be encoded as UTF-8 and stands in XML 1.0.
    """
    return _UNSEEN.sub(lambda match: f"[U+{ord(match[0]):04X}]", _LINE_END.sub("\n", text))


def shorten(text: str, limit: int, *, ellipsis: str = "…") -> str:
    """Cut a text to `limit` characters, the ellipsis included."""
    return text if len(text) <= limit else text[: max(0, limit - len(ellipsis))] + ellipsis


def show(value: Any) -> str:
    """Write a value as a person reads it: strings as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def show_line(value: Any, limit: int) -> str:
    """Write a value on one line of at most `limit` characters, safe to show; empty text becomes `""`."""
    folded = " ".join(reveal(show(value)[: 2 * limit]).split())
    return shorten(folded, limit) if folded else '""'


def defuse_log_commands(text: str) -> str:
    """Break what a CI runner would obey on standard output: `::error::`, `##[group]`, `##vso[…]`."""
    return _LOG_COMMAND.sub("# #", _LEADING_COMMAND.sub(r"\1\2: ", text))


def defuse_output(text: str) -> str:
    """Break the same in what a command writes: a text, or a JSON document, whose values stay what they are."""
    is_json = text[:1] in ("{", "[", '"')
    return _LOG_COMMAND.sub(lambda _: "#\\u0023", text) if is_json and _is_json(text) else defuse_log_commands(text)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
