"""The patterns of an ignore file, read exactly as git reads them.

A library would do, if it agreed with git in all cases: `pathspec` 1.1 lets a pattern for a folder speak for what is in
the folder too, so that `?` and then `!/*/` keep what git leaves out. It also takes 50 ms to import.

Source: gitignore(5), and the matching rules of git's wildmatch.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_BOM = b"\xef\xbb\xbf"
_ANY = rb"[^/]*"
_CLASSES = {
    b"alnum": rb"a-zA-Z0-9",
    b"alpha": rb"a-zA-Z",
    b"blank": rb" \t",
    b"cntrl": rb"\x00-\x1f\x7f",
    b"digit": rb"0-9",
    b"graph": rb"\x21-\x7e",
    b"lower": rb"a-z",
    b"print": rb"\x20-\x7e",
    b"punct": rb"!-/:-@\[-`{-~",
    b"space": rb"\s",
    b"upper": rb"A-Z",
    b"xdigit": rb"0-9a-fA-F",
}


class _Pattern(NamedTuple):
    regex: re.Pattern[bytes]
    leaves_out: bool
    folders_only: bool


class IgnoreFile:
    """One ignore file.

    Args:
        content: its bytes.
    """

    def __init__(self, content: bytes) -> None:
        lines = content.removeprefix(_BOM).split(b"\n")
        self._patterns = [pattern for line in lines if (pattern := _read_pattern(line))]
        self._any = re.compile(b"|".join(b"(?:%s)" % pattern.regex.pattern for pattern in self._patterns), re.DOTALL)

    def leaves_out(self, path: str, *, is_folder: bool) -> bool | None:
        """Say what the last pattern that matches decides.

        Args:
            path: relative to the folder of the ignore file. Only the path itself is looked at: ask for the folders
                above it first, since nothing in a folder that is left out can be kept.
            is_folder: whether it is a folder; a link is none.

        Returns:
            None when no pattern matches.
        """
        name = path.encode("utf-8", "surrogateescape")
        if not self._patterns or not self._any.fullmatch(name):
            return None
        for pattern in reversed(self._patterns):
            if (is_folder or not pattern.folders_only) and pattern.regex.fullmatch(name):
                return pattern.leaves_out
        return None


def _read_pattern(line: bytes) -> _Pattern | None:
    text = _trim(line.removesuffix(b"\r"))
    if text.startswith(b"#"):
        return None
    leaves_out = not text.startswith(b"!")
    text = text.removeprefix(b"!")
    folders_only = text.endswith(b"/")
    text = text.removesuffix(b"/")
    if not text:
        return None
    body = _translate(text.removeprefix(b"/"))
    if body is None:
        return None
    prefix = b"" if b"/" in text else rb"(?:.*/)?"
    return _Pattern(re.compile(prefix + body, re.DOTALL), leaves_out, folders_only)


def _trim(line: bytes) -> bytes:
    """Cut the spaces at the end, but not one after a backslash."""
    kept = line.rstrip(b" ")
    escapes = len(kept) - len(kept.rstrip(b"\\"))
    return kept + b" " if escapes % 2 and len(line) > len(kept) else kept


def _translate(glob: bytes) -> bytes | None:
    """Turn a pattern into a regular expression over a path; None when it can match nothing."""
    parts: list[bytes] = []
    place = 0
    while place < len(glob):
        piece, place = _translate_piece(glob, place)
        if piece is None:
            return None
        parts.append(piece)
    return b"".join(parts)


def _translate_piece(glob: bytes, place: int) -> tuple[bytes | None, int]:
    char = glob[place : place + 1]
    if char == b"*":
        return _translate_stars(glob, place)
    if char == b"?":
        return rb"[^/]", place + 1
    if char == b"[":
        return _translate_bracket(glob, place + 1)
    if char == b"\\":
        escaped = glob[place + 1 : place + 2]
        return (re.escape(escaped) if escaped else None), place + 2
    return re.escape(char), place + 1


def _translate_stars(glob: bytes, place: int) -> tuple[bytes, int]:
    end = place
    while glob[end : end + 1] == b"*":
        end += 1
    starts = place == 0 or glob[place - 1 : place] == b"/"
    if end - place == 1 or not starts or glob[end : end + 1] not in (b"", b"/"):
        return _ANY, end
    return (rb".*", end) if end == len(glob) else (rb"(?:.*/)?", end + 1)


def _translate_bracket(glob: bytes, place: int) -> tuple[bytes | None, int]:
    negated = glob[place : place + 1] in (b"!", b"^")
    place += negated
    items: list[bytes] = []
    while not items or glob[place : place + 1] != b"]":
        item, place = _translate_bracket_item(glob, place)
        if item is None:
            return None, place
        items.append(item)
    inside = b"".join(items)
    return b"(?!/)[%s%s]" % (b"^" if negated else b"", inside), place + 1


def _translate_bracket_item(glob: bytes, place: int) -> tuple[bytes | None, int]:
    if glob.startswith(b"[:", place) and (end := glob.find(b":]", place)) > 0:
        return _CLASSES.get(glob[place + 2 : end]), end + 2
    first, place = _read_char(glob, place)
    if first is None or glob[place : place + 1] != b"-" or glob[place + 1 : place + 2] in (b"]", b""):
        return (None if first is None else re.escape(first)), place
    last, place = _read_char(glob, place + 1)
    if last is None:
        return None, place
    # To git, a range that runs backwards is its first character.
    return (re.escape(first) + b"-" + re.escape(last) if first <= last else re.escape(first)), place


def _read_char(glob: bytes, place: int) -> tuple[bytes | None, int]:
    place += glob[place : place + 1] == b"\\"
    return glob[place : place + 1] or None, place + 1
