"""The few-shot examples that a flow shows a model, as far as its files show them."""

from __future__ import annotations

import ast
import functools
import json
from collections.abc import Iterator, Sequence
from typing import Any

from llmops.flows.closure import Closure
from llmops.flows.lint.subject import parse_module
from llmops.flows.tree import FileTree, read

SHORTEST = 12
"""Characters of an input; what is shorter may stand in a prompt by chance."""

_LARGEST = 1 << 20
_TEMPLATES = (".jinja2", ".j2", ".prompty")
_RECORDS = (".json", ".jsonl")


class FewShot:
    """Finds rows among the examples of a flow.

    In a template, an input that stands there counts. In Python and JSON, an input counts when the same dictionary, or
    the same call, holds the label too: without it, the value is material for a tool and not an answer.

    Args:
        closure: the flow's files.
        without: the data set itself, relative to the top of the repository; it may lie in the flow's folder.
    """

    def __init__(self, tree: FileTree, closure: Closure, *, without: str = "") -> None:
        self._tree = tree
        self._files = {name: source.path for name, source in closure.files.items() if source.path != without}

    @functools.cached_property
    def _templates(self) -> list[tuple[str, str]]:
        return [(name, content.decode("utf-8", "replace")) for name, content in self._contents(_TEMPLATES)]

    @functools.cached_property
    def _records(self) -> dict[str, list[tuple[frozenset[str], str]]]:
        """Index the records by each of their longer values; costs a walk through every syntax tree of the flow."""
        found: dict[str, list[tuple[frozenset[str], str]]] = {}
        for name, content in self._contents((*_RECORDS, ".py")):
            for values in _records_in_python(content) if name.endswith(".py") else _records_in_json(name, content):
                for value in values:
                    if len(value) >= SHORTEST:
                        found.setdefault(value, []).append((values, name))
        return found

    def _contents(self, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
        for name, path in self._files.items():
            if name.endswith(suffixes):
                content = read(self._tree, path)
                if len(content) <= _LARGEST:
                    yield name, content

    def find(self, inputs: Sequence[Any], labels: Sequence[Any]) -> str:
        """Return the file that holds this row as an example; empty when none does."""
        wanted = {str(label) for label in labels if label not in (None, "")}
        for value in inputs:
            if not isinstance(value, str) or len(value) < SHORTEST:
                continue
            for name, text in self._templates:
                if value in text:
                    return name
            for values, name in self._records.get(value, ()) if wanted else ():
                if wanted <= values:
                    return name
        return ""


def _records_in_python(content: bytes) -> Iterator[frozenset[str]]:
    if b"{" not in content and b"(" not in content:
        return
    tree = parse_module(content, "").tree
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, (ast.Dict, ast.Call, ast.Tuple)):
            found = frozenset(
                part.value
                for part in ast.iter_child_nodes(node)
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            )
            keywords = node.keywords if isinstance(node, ast.Call) else []
            given = (word.value for word in keywords)
            found |= {part.value for part in given if isinstance(part, ast.Constant) and isinstance(part.value, str)}
            if len(found) > 1:
                yield found


def _records_in_json(name: str, content: bytes) -> Iterator[frozenset[str]]:
    texts = content.splitlines() if name.endswith(".jsonl") else [content]
    for text in texts:
        try:
            pending = [json.loads(text)] if text.strip() else []
        except ValueError:
            continue
        while pending:
            value = pending.pop()
            if isinstance(value, list):
                pending += value
            elif isinstance(value, dict):
                pending += [part for part in value.values() if isinstance(part, (list, dict))]
                yield frozenset(part for part in value.values() if isinstance(part, str))
