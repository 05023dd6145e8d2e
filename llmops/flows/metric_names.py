"""Which metrics an evaluation flow can log, read from its source without importing it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from llmops.flows.closure import Closure
from llmops.flows.tree import FileTree, read

_LOGGER = "log_metric"


def reported_metrics(tree: FileTree, closure: Closure) -> frozenset[str] | None:
    """Return the names that the flow's `log_metric` calls spell out.

    Returns:
        None when the source does not show all names: a name is computed, or a file cannot be parsed.
    """
    names: set[str] = set()
    for name, source in closure.files.items():
        if not name.endswith(".py"):
            continue
        content = read(tree, source.path)
        if _LOGGER.encode() not in content:
            continue
        try:
            found = list(_logged_names(ast.parse(content)))
        except (SyntaxError, ValueError):
            return None
        if None in found:
            return None
        names.update(filter(None, found))
    return frozenset(names)


def _logged_names(module: ast.Module) -> Iterator[str | None]:
    """Yield the name of each logged metric, None where it is computed or `log_metric` is passed on."""
    called = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and _is_logger(node.func):
            called.add(id(node.func))
            yield _literal(node)
    for node in ast.walk(module):
        if _is_logger(node) and isinstance(getattr(node, "ctx", None), ast.Load) and id(node) not in called:
            yield None


def _is_logger(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr == _LOGGER
    return isinstance(node, ast.Name) and node.id == _LOGGER


def _literal(call: ast.Call) -> str | None:
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    name = call.args[0] if call.args else keywords.get("key")
    return name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else None
