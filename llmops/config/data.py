"""Rows of a data set: JSON Lines or CSV, one at a time.

JSON Lines: one JSON object per line. CSV: the first row names the columns, RFC 4180 quoting, every value is text.
Both: UTF-8 with or without a byte order mark, LF or CRLF, blank lines skipped. What JSON leaves open is refused, so
that two readers never see two data sets: a key given twice, NaN and infinities, half a surrogate pair.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from llmops.config.images import image_digest, image_paths
from llmops.errors import LlmopsError, Problem, UsageError

PROBLEMS_SHOWN = 20

MAX_FIELD = 2**31 - 1
"""Characters of one CSV field; Python's own default of 131 072 is too small for a page of text."""


_REGISTERED = re.compile(r"azureml:[^:@/]+:[^:@/]+")


def is_registered(path: str) -> bool:
    """Tell whether a data set's path is the address of registered data, `azureml:NAME:VERSION`, and no file."""
    return _REGISTERED.fullmatch(path) is not None


class Row(NamedTuple):
    """One row.

    Attributes:
        number: 0-based position in the data set.
        line: 1-based line of the file on which it begins.
        values: column to value.
    """

    number: int
    line: int
    values: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """What one pass over a data set finds.

    Attributes:
        digest: `sha256:` and 64 hexadecimal digits over the bytes of the file, and of the images that its rows name.
        rows: number of rows, at least one.
        columns: columns that every row has, in the order of the first row.
        lacking: column that only some rows have, to the first line that lacks it.
    """

    digest: str
    rows: int
    columns: tuple[str, ...]
    lacking: Mapping[str, int]


class _Bad(NamedTuple):
    """A line that is no row."""

    problem: Problem


_Parsed = Iterator[Row | _Bad]


def read_rows(path: Path, *, label: str = "") -> Iterator[Row]:
    """Read the rows one at a time; memory does not grow with their number.

    Args:
        label: the file as messages name it; its path when left out.

    Raises:
        UsageError: at once if there is no such file or its format is unknown; at the first line that is no row; at the
            end if there was no row.
    """
    reader = _reader(path, label or str(path))
    return _only_rows(reader(_lines(path, label or str(path), None)), label or str(path))


def describe(path: Path, *, label: str = "") -> DataSummary:
    """Read a data set once, from its first line to its last, and judge all of it.

    Args:
        label: the file as messages name it; its path when left out.

    Raises:
        UsageError: there is no such file, its format is unknown, it has no row, or lines of it are no rows: up to
            `PROBLEMS_SHOWN` problems and the number of the others.
    """
    label = label or str(path)
    digest = hashlib.sha256()
    images = _Images(path.parent, label)
    tally = _Tally(label)
    for item in _reader(path, label)(_lines(path, label, digest.update)):
        tally.add(item if isinstance(item, _Bad) else images.add(item))
    for image in images.digests.values():
        digest.update(image.encode())
    return tally.summary(f"sha256:{digest.hexdigest()}")


def _reader(path: Path, label: str) -> Callable[[Iterable[bytes]], _Parsed]:
    if path.is_dir():
        raise UsageError.of("a folder is not a data set", where=label, expected="a '.jsonl' or '.csv' file")
    if not path.is_file():
        raise UsageError.of("no such data file", where=label)
    readers: Mapping[str, Callable[[Iterable[bytes], str], _Parsed]] = {".jsonl": _read_jsonl, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        found = f"'{path.suffix}'" if path.suffix else "no file extension"
        raise UsageError.of("unknown data format", where=label, found=found, expected="'.jsonl' or '.csv'")
    return lambda lines: reader(lines, label)


def _lines(path: Path, label: str, seen: Callable[[bytes], None] | None) -> Iterator[bytes]:
    try:
        with path.open("rb") as handle:
            for line in handle:
                if seen:
                    seen(line)
                yield line
    except OSError as error:
        raise UsageError.of("cannot read the data file", where=label, found=error.strerror or str(error)) from error


def _only_rows(items: _Parsed, label: str) -> Iterator[Row]:
    item = None
    for item in items:
        if isinstance(item, _Bad):
            raise UsageError(item.problem)
        yield item
    if item is None:
        raise _no_rows(label)


def _no_rows(label: str) -> LlmopsError:
    return UsageError.of("the data set has no rows", where=label, expected="at least one row")


class _Images:
    """Digests the images that rows name by path, each once."""

    def __init__(self, folder: Path, label: str) -> None:
        self.folder = folder
        self.label = label
        self.digests: dict[str, str] = {}

    def add(self, row: Row) -> Row | _Bad:
        for path in image_paths(row.values):
            if path not in self.digests:
                try:
                    self.digests[path] = image_digest(self.folder / path)
                except OSError as error:
                    found = f"'{path}': {error.strerror or error}"
                    expected = "a path relative to the folder of the data file"
                    where = f"{self.label}:{row.line}"
                    return _Bad(Problem(what="cannot read an image", where=where, found=found, expected=expected))
        return row


class _Tally:
    """Counts rows, columns and problems."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.rows = 0
        self.problems: list[Problem] = []
        self.bad = 0
        self.first_line = 0
        self.columns: dict[str, None] = {}
        self.lacking: dict[str, int] = {}

    def add(self, item: Row | _Bad) -> None:
        if isinstance(item, _Bad):
            self.bad += 1
            if len(self.problems) < PROBLEMS_SHOWN:
                self.problems.append(item.problem)
            return
        self.rows += 1
        if self.rows == 1:
            self.first_line = item.line
            self.columns = dict.fromkeys(item.values)
        elif item.values.keys() != self.columns.keys():
            self.note_columns(item)

    def note_columns(self, row: Row) -> None:
        for column in [column for column in self.columns if column not in row.values]:
            del self.columns[column]
            self.lacking[column] = row.line
        for column in row.values:
            if column not in self.columns:
                self.lacking.setdefault(column, self.first_line)

    def summary(self, digest: str) -> DataSummary:
        if self.problems:
            more = self.bad - len(self.problems)
            tail = [Problem(what=f"and {more} more", where=self.label)] if more else []
            raise UsageError(*self.problems, *tail)
        if not self.rows:
            raise _no_rows(self.label)
        return DataSummary(digest=digest, rows=self.rows, columns=tuple(self.columns), lacking=self.lacking)


class _Text(NamedTuple):
    """One decoded line; `problem` when it is not UTF-8."""

    number: int
    text: str
    problem: Problem | None = None


def _decoded(lines: Iterable[bytes], label: str) -> Iterator[_Text]:
    offset = 0
    for number, raw in enumerate(lines, start=1):
        start = len(codecs.BOM_UTF8) if number == 1 and raw.startswith(codecs.BOM_UTF8) else 0
        try:
            yield _Text(number, raw[start:].decode("utf-8"))
        except UnicodeDecodeError as error:
            at = start + error.start
            found = f"byte 0x{raw[at]:02x} at offset {offset + at}"
            where = f"{label}:{number}"
            yield _Text(number, "", Problem(what="not UTF-8", where=where, found=found, fix="Save the file as UTF-8."))
        offset += len(raw)


class _NotStrictError(ValueError):
    """JSON that Python reads and the standard leaves open."""


def _refuse_constant(name: str) -> NoReturn:
    raise _NotStrictError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _NotStrictError(f"{text} is too large for a number")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for n, key in enumerate(keys) if key in keys[:n])
        raise _NotStrictError(f"the key '{twice}' is given twice")
    return result


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refuse_constant, parse_float=_finite)


def _read_jsonl(lines: Iterable[bytes], label: str) -> _Parsed:
    number = 0
    for line in _decoded(lines, label):
        if line.problem:
            yield _Bad(line.problem)
            continue
        text = line.text.strip(" \t\r\n")
        if not text:
            continue
        item = _parse_object(text, line, label)
        if isinstance(item, Problem):
            yield _Bad(item)
            continue
        yield Row(number, line.number, item)
        number += 1


def _parse_object(text: str, line: _Text, label: str) -> dict[str, Any] | Problem:
    where = f"{label}:{line.number}"
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        column = error.pos + line.text.index(text) + 1
        return Problem(what="not valid JSON", where=f"{where}:{column}", found=error.msg)
    except (ValueError, RecursionError) as error:
        found = "too deeply nested" if isinstance(error, RecursionError) else str(error)
        return Problem(what="not valid JSON", where=where, found=found)
    if not isinstance(value, dict):
        return Problem(what="not a JSON object", where=where, found=_json_type(value), expected="an object")
    if "\\ud" in text.lower() and not _is_encodable(value):
        return Problem(what="not valid JSON", where=where, found="half a surrogate pair")
    return value


def _json_type(value: Any) -> str:
    names = {list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _is_encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _read_csv(lines: Iterable[bytes], label: str) -> _Parsed:
    csv.field_size_limit(MAX_FIELD)
    undecodable: list[Problem] = []
    reader = csv.reader(_texts(_decoded(lines, label), undecodable), strict=True)
    header: list[str] | None = None
    number = end = 0
    try:
        for fields in reader:
            where, start, end = f"{label}:{end + 1}", end + 1, reader.line_num
            problem = undecodable.pop() if undecodable else _field_problem(fields, header, where)
            if problem:
                yield _Bad(problem)
                if header is None:
                    return
            elif fields and header is None:
                header = fields
            elif fields:
                yield Row(number, start, dict(zip(header or (), fields, strict=True)))
                number += 1
    except csv.Error as error:
        yield _Bad(Problem(what="not valid CSV", where=f"{label}:{end + 1}", found=str(error)))


def _texts(lines: Iterator[_Text], undecodable: list[Problem]) -> Iterator[str]:
    for line in lines:
        if line.problem:
            undecodable.append(line.problem)
        yield line.text


def _field_problem(fields: list[str], header: list[str] | None, where: str) -> Problem | None:
    if header is not None:
        if not fields or len(fields) == len(header):
            return None
        found, expected = f"{len(fields)} fields", f"{len(header)}, as in the first row"
        return Problem(what="wrong number of fields", where=where, found=found, expected=expected)
    twice = next((name for n, name in enumerate(fields) if name in fields[:n]), None)
    if twice is not None:
        return Problem(what="column given twice", where=where, found=f"'{twice}'")
    if "" in fields:
        return Problem(
            what="column without a name", where=where, found=f"column {fields.index('') + 1} of {len(fields)}"
        )
    return None
