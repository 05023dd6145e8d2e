"""What a function returns, as far as its source shows all of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

Function = ast.FunctionDef | ast.AsyncFunctionDef

_SCALARS = frozenset({"str", "int", "float", "bool", "None"})


def returned_fields(function: Function) -> frozenset[str] | None:
    """List the keys that any return of the function has.

    Returns:
        Empty when the function is annotated to return text or a number, which have no fields; None when a return is
        anything but a dictionary written out with constant keys.
    """
    if isinstance(function.returns, ast.Name) and function.returns.id in _SCALARS:
        return frozenset()
    values = list(_returned(function.body))
    if not values:
        return None
    keys: set[str] = set()
    for value in values:
        found = _keys_of(value)
        if found is None:
            return None
        keys |= found
    return frozenset(keys)


def _keys_of(value: ast.expr | None) -> set[str] | None:
    if not isinstance(value, ast.Dict):
        return None
    names = [key.value for key in value.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
    return set(names) if len(names) == len(value.keys) else None


def _returned(body: list[ast.stmt]) -> Iterator[ast.expr | None]:
    """Yield what each return gives back; a generator gives back something else, so that None is yielded."""
    pending: list[ast.AST] = list(body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Return):
            yield node.value
        elif isinstance(node, (ast.Yield, ast.YieldFrom)):
            yield None
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            pending += ast.iter_child_nodes(node)
