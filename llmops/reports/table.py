"""Plain tables for terminals."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

from llmops.reports.plain_text import defuse_log_commands


def render_table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Render rows under their heads; numbers are set to the right. Heads that are all empty are left out.

    Args:
        heads: one per column.
        rows: cells that are shown as text.
    """
    texts = [[_clean(cell) for cell in row] for row in rows]
    widths = [max([_width(head), *(_width(row[n]) for row in texts)]) for n, head in enumerate(heads)]
    numeric = [bool(rows) and all(isinstance(row[n], (int, float)) for row in rows) for n in range(len(heads))]
    lines = [list(heads), ["─" * width for width in widths], *texts] if any(heads) else texts
    return "\n".join(
        "  ".join(_pad(cell, widths[n], right=numeric[n]) for n, cell in enumerate(line)).rstrip() for line in lines
    )


def _clean(cell: Any) -> str:
    text = "".join(" " if unicodedata.category(letter)[0] == "C" else letter for letter in str(cell))
    return defuse_log_commands(text)


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _pad(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space
