"""Flows as ZIP files, in the form that the studio's download button gives; nothing in one is trusted."""

from __future__ import annotations

import io
import os
import posixpath
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from llmops.errors import Problem, UsageError
from llmops.flows.folder import DEFINITION_FILES
from llmops.flows.ignore import CACHE_NAMES, CACHE_SUFFIXES

MAX_FILES = 10_000
MAX_FILE_BYTES = 64 << 20
MAX_TOTAL_BYTES = 256 << 20
MAX_RATIO = 200
"""Bytes of a file for each of its bytes in the archive; text compresses to about a tenth."""

_RATIO_FROM = 1 << 20
_CHUNK = 1 << 16
_DROPPED = CACHE_NAMES | {"__MACOSX"}
_EPOCH = (1980, 1, 1, 0, 0, 0)
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*]')
_RESERVED = re.compile(r"(?i)(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?")
# What zipfile raises on damaged archives; it promises BadZipFile alone, and fuzzing shows the others.
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    NotImplementedError,
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    OverflowError,
    OSError,
)


@dataclass(frozen=True, kw_only=True)
class Package:
    """The files of a flow, outside of any repository.

    Attributes:
        name: of the ZIP file or folder, or of the one folder in it that holds everything.
        files: relative path (NFC, forward slashes) to content with LF as line ends, sorted by path.
        dropped: paths of caches and run folders that were left out.
    """

    name: str
    files: Mapping[str, bytes]
    dropped: tuple[str, ...] = ()


def read_package(source: Path) -> Package:
    """Read a flow from a ZIP file or a folder.

    Raises:
        UsageError: there is no such file; it is no ZIP; it holds no flow; a name is absolute, leaves the archive or
            cannot exist on every operating system; a link leads out; it is larger than the limits above.
    """
    if source.is_dir():
        raw = dict(_read_folder(source))
    elif source.is_file():
        raw = _read_zip(source)
    else:
        raise UsageError.of("no such file or folder", where=str(source))
    dropped = sorted(name for name in raw if _is_dropped(name))
    kept = {name: content for name, content in raw.items() if name not in set(dropped)}
    name, kept = _strip_folder(source.name.removesuffix(".zip"), kept)
    if not any(file in DEFINITION_FILES or ("/" not in file and file.endswith(".prompty")) for file in kept):
        expected = f"{DEFINITION_FILES[0]}, {DEFINITION_FILES[2]} or a .prompty file at the top"
        raise UsageError.of("holds no flow", where=str(source), expected=expected)
    _check_collisions(kept, source)
    files = {file: normalise(content) for file, content in sorted(kept.items())}
    return Package(name=name, files=files, dropped=tuple(dropped))


def write_package(files: Mapping[str, bytes]) -> bytes:
    """Write files as a ZIP; the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, content in sorted(files.items()):
            info = zipfile.ZipInfo(name, date_time=_EPOCH)
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            archive.writestr(info, content)
    return buffer.getvalue()


def normalise(content: bytes) -> bytes:
    """Turn CRLF into LF in text; what holds a NUL or is not UTF-8 stays as it is."""
    if b"\r\n" not in content or b"\0" in content:
        return content
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return content
    return content.replace(b"\r\n", b"\n")


def _read_zip(source: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(source) as archive:
            return dict(_read_entries(archive, source))
    except _BROKEN as error:
        raise UsageError.of("not a ZIP file that can be read", where=str(source), found=str(error)) from error


def _read_entries(archive: zipfile.ZipFile, source: Path) -> Iterator[tuple[str, bytes]]:
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(entries) > MAX_FILES:
        raise _too_large(source, f"{len(entries)} files", f"at most {MAX_FILES}")
    left = MAX_TOTAL_BYTES
    seen: set[str] = set()
    for entry in entries:
        name = _safe_name(entry.filename, source)
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise UsageError.of("holds a link", where=f"{source}: {name}", fix="Put the file itself into the archive.")
        if entry.flag_bits & 1:
            raise UsageError.of("is encrypted", where=f"{source}: {name}", fix="Write the archive without a password.")
        if name in seen:
            raise UsageError.of("holds a file twice", where=f"{source}: {name}")
        seen.add(name)
        content = _read_entry(archive, entry, source, min(left, MAX_FILE_BYTES))
        left -= len(content)
        yield name, content


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, source: Path, most: int) -> bytes:
    """Read one entry piece by piece: what its header says of its size may be a lie."""
    parts: list[bytes] = []
    size = 0
    with archive.open(entry) as handle:
        while chunk := handle.read(_CHUNK):
            size += len(chunk)
            if size > most:
                raise _too_large(source, f"{entry.filename} or the whole", f"at most {most} more bytes here")
            if size > _RATIO_FROM and size > MAX_RATIO * max(entry.compress_size, 1):
                raise _too_large(source, f"{entry.filename} unpacks to more than {MAX_RATIO} times its size", "")
            parts.append(chunk)
    return b"".join(parts)


def _read_folder(source: Path) -> Iterator[tuple[str, bytes]]:
    top = source.resolve()
    count, total = 0, 0
    for folder, names, files in os.walk(top):
        names[:] = sorted(name for name in names if name not in _DROPPED)
        for name in [*names, *files]:
            path = Path(folder, name)
            if path.is_symlink() and not path.resolve().is_relative_to(top):
                raise UsageError.of("holds a link that leads out", where=str(path), fix="Copy what it points to.")
            if path.is_symlink() and path.is_dir():
                raise UsageError.of("holds a link to a folder", where=str(path), fix="Copy what it points to.")
        for name in sorted(files):
            path = Path(folder, name)
            if not path.is_file():
                continue
            count, total = count + 1, total + path.stat().st_size
            if count > MAX_FILES or total > MAX_TOTAL_BYTES:
                raise _too_large(source, f"{count} files, {total} bytes", f"{MAX_FILES} files, {MAX_TOTAL_BYTES} bytes")
            yield _safe_name(path.relative_to(top).as_posix(), source), path.read_bytes()


def _safe_name(written: str, source: Path) -> str:
    """Judge a name of the archive and return it in one spelling.

    Raises:
        UsageError: it is absolute, leaves the archive, or cannot exist on every operating system.
    """
    name = unicodedata.normalize("NFC", written.replace("\\", "/"))
    parts = name.split("/")
    problem = ""
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        problem = "is an absolute path"
    elif ".." in parts:
        problem = "leaves the archive"
    elif _FORBIDDEN.search(name) or any(
        _RESERVED.fullmatch(part) or part != part.rstrip(" .") for part in parts if part != "."
    ):
        problem = "cannot exist on every operating system"
    elif not name or any(not part for part in parts):
        problem = "is no file name"
    if problem:
        shown = written.encode("unicode_escape").decode("ascii")[:200]
        raise UsageError.of(f"a name in it {problem}", where=str(source), found=shown)
    return posixpath.normpath(name)


def _is_dropped(name: str) -> bool:
    return any(part in _DROPPED or part.endswith(CACHE_SUFFIXES) for part in name.split("/"))


def _strip_folder(name: str, files: Mapping[str, bytes]) -> tuple[str, dict[str, bytes]]:
    """Take the flow out of the one folder that holds everything, if there is one."""
    tops = {file.partition("/")[0] for file in files}
    if len(tops) != 1 or not all("/" in file for file in files):
        return name, dict(files)
    (top,) = tops
    return top, {file[len(top) + 1 :]: content for file, content in files.items()}


def _check_collisions(files: Mapping[str, bytes], source: Path) -> None:
    """Refuse names that cannot live side by side: of the same letters, or a file where a folder must be."""
    spellings: dict[str, str] = {}
    for file in files:
        parts = file.split("/")
        for count in range(1, len(parts) + 1):
            path = "/".join(parts[:count])
            other = spellings.setdefault(path.lower(), path)
            is_file = count == len(parts)
            if other != path or (not is_file and path in files):
                found = f"{other} and {path}" if other != path else path
                problem = Problem(what="two names in it cannot live side by side", where=str(source), found=found)
                raise UsageError(problem)


def _too_large(source: Path, found: str, expected: str) -> UsageError:
    return UsageError(Problem(what="is larger than a flow may be", where=str(source), found=found, expected=expected))
