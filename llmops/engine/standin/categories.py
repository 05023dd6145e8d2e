"""Find the list of categories in a prompt."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from llmops.engine.standin.lines import LABEL_KEY, MARKS, NAME_WORDS, Line, normalise

_LIST_CUE = re.compile(
    r"categor|class|label|topic|type|option|choose|one of|kind|tag|group|bucket|following|among", re.IGNORECASE
)
_DESCRIPTION_KEY = re.compile(r"(?:description|definition|meaning|means|about|explanation|when)", re.IGNORECASE)
_NAME_AND_TEXT = re.compile(r"\s*(?:\s[-\u2013\u2014]+\s|:\s|=\s|\s\()\s*")
_NAME = r"(?:\"[^\"\n]{1,40}\"|'[^'\n]{1,40}')"
_ARRAY = re.compile(rf"\[\s*{_NAME}(?:\s*,\s*{_NAME})+\s*,?\s*\]")
_ITEMS = (
    r"((?:[\"'`*]*[^\s,;|/:.()\"'`*][^,;|/:.()\n]{0,30}?[\"'`*]*\s*[,;|/]\s*)+"
    r"(?:or\s+|and\s+)?[\"'`*]*[^\s,;|/:.()\n][^,;|/:.()\n]*)"
)
_NAMED_LIST = re.compile(
    r"(?:\b(?:categor(?:y|ies)|class(?:es)?|labels?|topics?|types?|options?|tags?|groups?|buckets?|following|kinds?)\b"
    r"[^:\n,.;|/\"]{0,40}:|\b(?:exactly )?one of(?: these| the following)?:?)\s*" + _ITEMS,
    re.IGNORECASE,
)
_LOOSE_LIST = re.compile(r"\b(?:either|between|among|within|from|into|as|be|are)\s+" + _ITEMS, re.IGNORECASE)
_BARE_LIST = re.compile(r"^\s*" + _ITEMS)
_TAIL_WORDS = re.compile(
    r"\s(?:based|given|using|according|depending|by|for|with|that|which|when|if|from|in|on|to|about|only|whichever)\b.*",
    re.IGNORECASE,
)
FEWEST_CATEGORIES = 2
"""A list of one is no choice."""

_LIST_LINES = 80
_LIST_LETTERS = 600
_CUE_REACH = 4
_LABEL_LETTERS = 60


@dataclass(frozen=True, kw_only=True)
class Category:
    """A category as the prompt declares it; the description may be empty."""

    name: str
    description: str = ""


def mentions_list(text: str) -> bool:
    """Tell whether a text has a word that may introduce a list of categories."""
    return _LIST_CUE.search(text) is not None


@dataclass(frozen=True, kw_only=True)
class _Listing:
    """A list that may be the categories; `end` is the index of the line after it."""

    categories: tuple[Category, ...]
    end: int


def find_categories(lines: Sequence[Line], replies: Iterable[str]) -> tuple[tuple[Category, ...], int]:
    """Find the list of categories; return it with the index of the line after it.

    Of several lists, that one is meant whose names the examples use most; else the one in the clearest form.
    """
    used = {normalise(name) for name in (*_possible_labels(lines), *replies)}
    best: _Listing | None = None
    most = -1
    for find in (_find_array, _find_category_lines, _find_named_inline, _find_bullets, _find_inline):
        for index in range(min(len(lines), _LIST_LINES)):
            listing = find(lines, index)
            if listing is None or len(listing.categories) < FEWEST_CATEGORIES:
                continue
            hits = sum(normalise(category.name) in used for category in listing.categories)
            if hits > most:
                best, most = listing, hits
    return (best.categories, best.end) if best else ((), 0)


def _possible_labels(lines: Iterable[Line]) -> Iterator[str]:
    for line in lines:
        for document in line.documents:
            yield from (value for value in document.values() if isinstance(value, str))
        if line.value and line.data is None and len(line.value) < _LABEL_LETTERS:
            yield line.value


def _has_cue(lines: Sequence[Line], index: int) -> bool:
    return _LIST_CUE.search(lines[index].text) is not None or _LIST_CUE.search(_line_above(lines, index)) is not None


def _line_above(lines: Sequence[Line], index: int) -> str:
    return next((line.text for line in reversed(lines[max(0, index - _CUE_REACH) : index]) if not line.is_blank), "")


def _find_array(lines: Sequence[Line], index: int) -> _Listing | None:
    match = _ARRAY.search(lines[index].text)
    if match is None or not _has_cue(lines, index):
        return None
    names = [name for name in ast.literal_eval(match[0]) if isinstance(name, str)]
    return _Listing(categories=tuple(Category(name=name.strip()) for name in names), end=index + 1)


def _find_bullets(lines: Sequence[Line], index: int) -> _Listing | None:
    if not lines[index].bullet or not _LIST_CUE.search(_line_above(lines, index)):
        return None
    found: list[Category] = []
    while index < len(lines) and (lines[index].bullet or lines[index].is_blank):
        if lines[index].bullet:
            category = _split_name(lines[index].bullet)
            if not 1 <= len(category.name.split()) <= NAME_WORDS:
                return None
            found.append(category)
        index += 1
    return _Listing(categories=tuple(found), end=index)


def _split_name(text: str) -> Category:
    name, *description = _NAME_AND_TEXT.split(text, maxsplit=1)
    return Category(name=name.strip(MARKS), description=description[0].rstrip(")") if description else "")


def _find_category_lines(lines: Sequence[Line], index: int) -> _Listing | None:
    """Read `Category: X` lines that follow each other directly or with a description in between."""
    found: list[Category] = []
    while index < len(lines):
        line = lines[index]
        category = _split_name(line.value) if LABEL_KEY.fullmatch(line.key) else None
        if category and 1 <= len(category.name.split()) <= NAME_WORDS and not set("{,") & set(category.name):
            found.append(category)
        elif found and _DESCRIPTION_KEY.fullmatch(line.key):
            found[-1] = Category(name=found[-1].name, description=line.value)
        elif not found or not line.is_blank:
            break
        index += 1
    return _Listing(categories=tuple(found), end=index) if found else None


def _find_named_inline(lines: Sequence[Line], index: int) -> _Listing | None:
    """Read a list after `categories:` or `one of`, or one that is a line of its own below such words."""
    above = _line_above(lines, index)
    names = _inline_names(lines[index].text, _NAMED_LIST)
    if not names and above.rstrip().endswith(":") and _LIST_CUE.search(above):
        names = _inline_names(lines[index].text, _BARE_LIST)
    return _Listing(categories=tuple(Category(name=name) for name in names), end=index + 1)


def _find_inline(lines: Sequence[Line], index: int) -> _Listing | None:
    names = _inline_names(lines[index].text, _LOOSE_LIST) if _has_cue(lines, index) else ()
    return _Listing(categories=tuple(Category(name=name) for name in names), end=index + 1)


@lru_cache(maxsize=4096)
def _inline_names(text: str, pattern: re.Pattern[str]) -> tuple[str, ...]:
    for match in pattern.finditer(text[:_LIST_LETTERS]):
        *items, last = re.split(r"\s*[,;|/]\s*", match[1])
        parts = [*items, *re.split(r"\s+(?:or|and)\s+|^\s*(?:or|and)\s+", last)]
        stripped = [_TAIL_WORDS.sub("", f"{part} ").strip(MARKS) for part in parts]
        names = [name for name in stripped if name]
        if len(names) >= FEWEST_CATEGORIES and all(len(name.split()) <= NAME_WORDS for name in names):
            return tuple(dict.fromkeys(names))
    return ()
