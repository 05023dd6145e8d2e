"""LL7: what should not be in a repository of flows, and what git does to the bytes of a flow."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence

from llmops.flows.closure import IMPORTED
from llmops.flows.gitignore import IgnoreFile
from llmops.flows.ignore import CACHE_NAMES, CACHE_SUFFIXES, IgnoreRules
from llmops.flows.lint.finding import Finding, Place
from llmops.flows.lint.subject import Subject
from llmops.flows.tree import FileTree, ancestors, is_within, read, show

LARGEST_SEARCHED = 1 << 20
"""Bytes of a file; larger ones are data, not code or settings, and are not searched for secrets."""

_SECRETS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("an OpenAI key", re.compile(r"\bsk-(?:proj-|svcacct-)?[A-Za-z0-9_-]{20,}")),
    ("an Anthropic key", re.compile(r"\bsk-ant-[A-Za-z0-9_-]{20,}")),
    ("an AWS access key", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("a GitHub token", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{40,})")),
    ("a Google key", re.compile(r"\bAIza[0-9A-Za-z_-]{35}\b")),
    ("a Slack token", re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{12,}")),
    ("a Hugging Face token", re.compile(r"\bhf_[A-Za-z0-9]{30,}\b")),
    ("a storage account key", re.compile(r"AccountKey=[A-Za-z0-9+/]{60,}={0,2}")),
    ("a shared access signature", re.compile(r"[?&]sig=[A-Za-z0-9%+/]{30,}")),
    ("a private key", re.compile(r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----")),
    (
        "a key",
        re.compile(
            r"""(?ix)(?:api[_-]?key|access[_-]?key|secret(?:[_-]?key)?|client[_-]?secret|subscription[_-]?key|password|
            auth[_-]?token|connection[_-]?string)["']?\s*[:=]\s*["']?(?P<value>[A-Za-z0-9+/_=-]{24,})"""
        ),
    ),
)
_PLACEHOLDER = re.compile(r"(?i)your|example|placeholder|xxxx|<|\*\*\*|change|dummy|todo|_key$|_name$|_secret$")
_LARGEST_RUN_OF_LETTERS = 20


def check_secrets(subject: Subject) -> Iterator[Finding]:
    """Search the files of a flow for secrets; only the kind and the place are told."""
    for name, source in (subject.closure.files if subject.closure else {}).items():
        shown = name.removeprefix(IMPORTED) if name.startswith(IMPORTED) else subject.shown(name)
        content = read(subject.tree, source.path)
        if len(content) > LARGEST_SEARCHED or b"\0" in content[:1024]:
            continue
        yield from find_secrets(content.decode("utf-8", "replace"), shown)


def find_secrets(text: str, shown: str) -> Iterator[Finding]:
    """Find what looks like a secret, at most once for each line."""
    found: dict[int, tuple[int, str]] = {}
    for kind, pattern in _SECRETS:
        for match in pattern.finditer(text):
            value = match.groupdict().get("value") or match[0]
            if _PLACEHOLDER.search(value) or (kind == "a key" and not _looks_random(value)):
                continue
            line = text.count("\n", 0, match.start()) + 1
            column = match.start() - (text.rfind("\n", 0, match.start()) + 1) + 1
            found.setdefault(line, (column, kind))
    for line, (column, kind) in sorted(found.items()):
        place = Place(file=shown, line=line, column=column)
        yield Finding(code="LL701", place=place, message=f"this looks like {kind}")


def check_caches(tree: FileTree, paths: Iterable[str] | None, folders: Sequence[str]) -> Iterator[Finding]:
    """Find caches that are committed in folders of flows.

    Args:
        paths: what git tracks, relative to the top of the repository; None outside of git, where a cache counts that
            no ignore file leaves out.
        folders: of the flows, relative to the top of the repository.
    """
    reported: set[str] = set()
    for path in sorted(_untracked_caches(tree, folders) if paths is None else paths):
        cache = _cache_of(path)
        if cache is None or cache in reported or not any(is_within(cache, folder) for folder in folders):
            continue
        reported.add(cache)
        yield Finding(code="LL702", place=Place(file=show(tree, cache)), message=f"'{show(tree, cache)}' is committed")


def check_line_endings(tree: FileTree, files: Iterable[str]) -> Iterator[Finding]:
    """Find the first file of a flow whose line endings `.gitattributes` leaves to the machine.

    Args:
        files: of the closures of flows, relative to the top of the repository.
    """
    attributes = _Attributes(tree)
    loose = next((path for path in files if not attributes.fix_line_endings(path)), None)
    if loose is None:
        return
    has_file = tree.kind(".gitattributes") == "file"
    place = Place(file=show(tree, ".gitattributes" if has_file else loose))
    yield Finding(code="LL703", place=place, message=f"nothing fixes the line endings of '{show(tree, loose)}'")


def fixes_line_endings(tree: FileTree, files: Iterable[str]) -> bool:
    """Say whether `.gitattributes` fixes the line endings of all these files; see `check_line_endings`."""
    attributes = _Attributes(tree)
    return all(attributes.fix_line_endings(path) for path in files)


def _looks_random(value: str) -> bool:
    words = re.findall(r"[A-Za-z]+", value)
    digits = sum(character.isdigit() for character in value)
    return digits >= len(value) // 8 and len(set(value)) >= 10 and max(map(len, words), default=0) <= 40


def _cache_of(path: str) -> str | None:
    parts = path.split("/")
    for count, part in enumerate(parts, start=1):
        if part in CACHE_NAMES or part.endswith(CACHE_SUFFIXES):
            return "/".join(parts[:count])
    return None


def _untracked_caches(tree: FileTree, folders: Sequence[str]) -> Iterator[str]:
    rules = IgnoreRules(tree)
    pending = list(folders)
    while pending:
        folder = pending.pop()
        for name, kind in tree.list(folder).items():
            path = posixpath.join(folder, name)
            if _cache_of(name) is None:
                pending += [path] if kind == "folder" else []
            elif not _is_ignored(rules, path, is_folder=kind == "folder"):
                yield path


def _is_ignored(rules: IgnoreRules, path: str, *, is_folder: bool) -> bool:
    found = rules.leaves_out(path, is_folder=is_folder)
    return found is not None and found != "the built-in cache list"


class _Attributes:
    """The `.gitattributes` of a tree, as far as they decide line endings."""

    def __init__(self, tree: FileTree) -> None:
        self._tree = tree
        self._rules: dict[str, list[tuple[IgnoreFile, list[str]]]] = {}

    def fix_line_endings(self, path: str) -> bool:
        """Say whether a file has the same bytes on every machine, as far as the attributes decide."""
        state: dict[str, str] = {}
        for folder in ancestors(path):
            inside = path[len(folder) + 1 :] if folder else path
            for pattern, attributes in self._read(folder):
                if pattern.leaves_out(inside, is_folder=False):
                    for attribute in attributes:
                        _apply(attribute, state)
        return state.get("text") == "no" or "eol" in state

    def _read(self, folder: str) -> list[tuple[IgnoreFile, list[str]]]:
        if folder not in self._rules:
            file = posixpath.join(folder, ".gitattributes")
            text = read(self._tree, file).decode("utf-8", "replace") if self._tree.kind(file) == "file" else ""
            rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith(("#", "["))]
            self._rules[folder] = [(IgnoreFile(pattern.encode()), attributes) for pattern, *attributes in rows]
        return self._rules[folder]


def _apply(attribute: str, state: dict[str, str]) -> None:
    name, _, value = attribute.partition("=")
    if name in ("-text", "binary"):
        state["text"] = "no"
    elif name in ("text", "!text"):
        state["text"] = "yes"
    elif name == "eol":
        state["eol"] = value
    elif name in ("-eol", "!eol"):
        state.pop("eol", None)
