"""Text laid out in the columns of a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from llmops.core.metrics import FindingOutcome
from llmops.reports.plain_text import defuse_log_commands

OUTCOME_COLORS: dict[FindingOutcome, str] = {"pass": "32", "fail": "31", "inconclusive": "33", "skipped": "2"}
_ASCII = str.maketrans({"✓": "+", "✗": "x", "…": "~", "—": "-", "→": "->", "─": "-"})
_GAP = "  "


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Text in a table; `outcome` gives it a colour, `is_right` aligns it."""

    text: str
    outcome: FindingOutcome | None = None
    is_right: bool = False


@dataclass(frozen=True, kw_only=True)
class Terminal:
    """Where the text goes: columns, colours, and the characters that its encoding has."""

    width: int
    color: bool
    encoding: str

    def spell(self, text: str) -> str:
        """Rewrite a text so that the encoding can carry it and no CI runner obeys it."""
        if not _can_encode(text, self.encoding):
            text = text.translate(_ASCII).encode(self.encoding, "backslashreplace").decode(self.encoding)
        return defuse_log_commands(text)

    def fit(self, text: str) -> str:
        """Cut a line to the terminal's columns."""
        return cut_to_width(self.spell(text), self.width, self.spell("…"))

    def paint(self, text: str, code: str) -> str:
        """Colour a text, where colours are wanted; `code` is an SGR parameter such as `1;31`."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.color and text.strip() else text

    def wrap(self, text: str) -> Sequence[str]:
        """Break a sentence into lines at spaces; continuation lines are indented."""
        lines, line = [], ""
        for word in self.spell(text).split(" "):
            if line and display_width(line) + 1 + display_width(word) > self.width:
                lines.append(line)
                line = f"  {word}"
            else:
                line = f"{line} {word}" if line else word
        return [self.fit(line) for line in (*lines, line)]

    def align(self, rows: Sequence[Sequence[Cell]]) -> Sequence[str]:
        """Pad the cells of each column to one width and rule off the first row."""
        widths = self._column_widths(rows)
        lines = [
            _GAP.join(self._pad(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
        rule = self.spell("─") * min(self.width, _total(widths))
        return [lines[0], rule, *lines[1:]]

    def has_room_for(self, rows: Sequence[Sequence[Cell]]) -> bool:
        """Say whether a table fits without cutting."""
        return _total(self._column_widths(rows)) <= self.width

    def _column_widths(self, rows: Sequence[Sequence[Cell]]) -> Sequence[int]:
        spelled = ([display_width(self.spell(cell.text)) for cell in row] for row in rows)
        return [max(column) for column in zip(*spelled, strict=True)]

    def _pad(self, cell: Cell, width: int) -> str:
        text = self.spell(cell.text)
        room = " " * (width - display_width(text))
        painted = self.paint(text, OUTCOME_COLORS[cell.outcome]) if cell.outcome else text
        return room + painted if cell.is_right else painted + room


def display_width(text: str) -> int:
    """Count the columns that a text takes: two for wide East Asian characters and emoji, none for combining marks."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def cut_to_width(text: str, width: int, ellipsis: str = "…") -> str:
    """Cut a text to so many columns, the ellipsis included."""
    if display_width(text) <= width:
        return text
    room, kept = width - display_width(ellipsis), []
    for char in text:
        room -= _columns(char)
        if room < 0:
            break
        kept.append(char)
    return "".join(kept) + ellipsis if width >= display_width(ellipsis) else ""


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def _can_encode(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
