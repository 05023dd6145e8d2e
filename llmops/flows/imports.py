"""Find what Python files import, by reading them: nothing is imported or run."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_DYNAMIC = re.compile(rb"\b(?:import_module|__import__)\b")
_BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")


@dataclass(frozen=True, kw_only=True)
class ImportedName:
    """One name that a file asks for.

    Attributes:
        module: dotted; `from a.b import c` asks for `a.b` with the name `c`, which may be a module of its own.
        name: what is taken out of the module; None when the module itself is meant.
        level: number of leading dots of a relative import.
    """

    module: str
    name: str | None = None
    level: int = 0


def could_import(source: bytes, names: Iterable[str]) -> bool:
    """Say whether a file can import one of these top-level names at all; far cheaper than `find_imports`."""
    wanted = [re.escape(name.encode()) for name in names]
    if not wanted or b"import" not in source:
        return False
    return re.search(rb"(?<![\w])(?:" + b"|".join(wanted) + rb")(?![\w])", source) is not None


def find_imports(source: bytes) -> list[ImportedName]:
    """List what a file imports anywhere in it: `import`, `from`, and `import_module` of a literal name.

    Raises:
        SyntaxError, ValueError, RecursionError: the file is not Python that this interpreter can read.
    """
    with warnings.catch_warnings():
        # The compiler warns of invalid escapes in the user's file; that is not ours to report.
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
    # Import statements stand among statements; expressions, most of a tree, matter for dynamic imports only.
    nodes = ast.walk(tree) if _DYNAMIC.search(source) else _statements(tree)
    return list(dict.fromkeys(found for node in nodes for found in _imports_of(node)))


def make_absolute(imported: ImportedName, package: str) -> str | None:
    """Resolve the dots of a relative import.

    Args:
        imported: as it stands in the file.
        package: dotted name of the package that the importing file is in; empty when it is in none.

    Returns:
        The dotted name of the module; None when the dots lead out of every package.
    """
    if not imported.level:
        return imported.module
    parts = package.split(".") if package else []
    if imported.level > len(parts):
        return None
    base = parts[: len(parts) - imported.level + 1]
    return ".".join([*base, *([imported.module] if imported.module else [])])


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        yield node
        for block in _BLOCKS:
            pending += getattr(node, block, ())


def _imports_of(node: ast.AST) -> Iterator[ImportedName]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield ImportedName(module=alias.name)
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield ImportedName(module=node.module or "", name=alias.name, level=node.level)
    elif isinstance(node, ast.Call):
        yield from _dynamic_import(node)


def _dynamic_import(node: ast.Call) -> Iterator[ImportedName]:
    function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if function not in ("import_module", "__import__") or not node.args:
        return
    module = node.args[0]
    if isinstance(module, ast.Constant) and isinstance(module.value, str) and module.value.strip("."):
        bare = module.value.lstrip(".")
        yield ImportedName(module=bare, level=len(module.value) - len(bare))
