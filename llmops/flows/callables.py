"""Flows that are plain Python: a function or class, named by its module or by its file.

`package.module:name` is found from the project folder (or its `src/`); `folder/file.py:name` stands in a flow folder of
its own. What the callable takes is read from the syntax tree; nothing is imported.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterator

from llmops.errors import UsageError, near_match
from llmops.flows.model import Flow, FlowInput
from llmops.flows.tree import FileTree, follow, in_project, kind_behind, read

_DOTTED = re.compile(r"(?P<module>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)")
_FILE = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")
_ROOTS = ("", "src")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def is_callable(text: str) -> bool:
    """Say whether a `flow:` setting names a callable."""
    return bool(_DOTTED.fullmatch(text) or _FILE.fullmatch(text))


def read_callable(tree: FileTree, text: str) -> Flow:
    """Read a flow that is a Python callable.

    Args:
        tree: where to look.
        text: `package.module:name` or `folder/file.py:name`.

    Raises:
        UsageError: no such module or file, it cannot be parsed, or it defines no such function or class.
    """
    match = _FILE.fullmatch(text)
    if match:
        folder, file = posixpath.split(posixpath.normpath(match["file"]))
        place, entry = in_project(tree, posixpath.join(folder, file)), f"{file.removesuffix('.py')}:{match['name']}"
        if kind_behind(tree, place) != "file":
            raise _missing(tree, match["file"], text)
        inputs = _read_inputs(tree, place, match["name"])
        return Flow(
            path=folder or ".",
            folder=follow(tree, in_project(tree, folder or ".")),
            kind="callable",
            definition=file,
            data={},
            entry=entry,
            inputs=inputs,
        )
    match = _DOTTED.fullmatch(text)
    assert match is not None
    place = _find_module(tree, match["module"], text)
    inputs = _read_inputs(tree, place, match["name"])
    return Flow(path=".", folder=tree.prefix, kind="callable", definition="", data={}, entry=text, inputs=inputs)


def entry_inputs(tree: FileTree, folder: str, entry: str) -> dict[str, FlowInput]:
    """Read what the entry of a flex flow takes, where its definition does not say; nothing where it is not found.

    Args:
        tree: where to look.
        folder: the flow's folder, relative to the top of the repository.
        entry: `module:name`, found from the flow's folder, the project folder or its `src/`.
    """
    place = _find_entry(tree, folder, entry)
    try:
        return _read_inputs(tree, place, entry.partition(":")[2]) if place else {}
    except UsageError:
        return {}


def entry_connections(tree: FileTree, folder: str, entry: str) -> tuple[str, ...]:
    """Name the arguments of a flex flow's class that take a connection: those annotated with a class of one.

    Args:
        tree, folder, entry: as those of `entry_inputs`.
    """
    place = _find_entry(tree, folder, entry)
    try:
        module = ast.parse(read(tree, follow(tree, place))) if place else ast.Module(body=[], type_ignores=[])
    except (SyntaxError, ValueError):
        return ()
    name = entry.partition(":")[2]
    classes = (node for node in module.body if isinstance(node, ast.ClassDef) and node.name == name)
    return tuple(
        argument.arg
        for cls in classes
        for function in cls.body
        if isinstance(function, ast.FunctionDef) and function.name == "__init__"
        for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
        if argument.annotation is not None and ast.unparse(argument.annotation).endswith("Connection")
    )


def _find_entry(tree: FileTree, folder: str, entry: str) -> str | None:
    parts = entry.partition(":")[0].split(".")
    stems = [posixpath.join(folder, *parts), *(in_project(tree, posixpath.join(root, *parts)) for root in _ROOTS)]
    places = (f"{stem}{ending}" for stem in stems for ending in (".py", "/__init__.py"))
    return next((place for place in places if kind_behind(tree, place) == "file"), None)


def _find_module(tree: FileTree, module: str, text: str) -> str:
    parts = module.split(".")
    for root in _ROOTS:
        stem = in_project(tree, posixpath.join(root, *parts))
        for place in (f"{stem}.py", f"{stem}/__init__.py"):
            if kind_behind(tree, place) == "file":
                return place
    raise _missing(tree, f"{'/'.join(parts)}.py", text)


def _missing(tree: FileTree, file: str, text: str) -> UsageError:
    return UsageError.of(
        f"no such module in {tree.name}",
        where=text,
        expected=f"{file} in the project folder or in src/",
        fix="Name it as package.module:function or folder/file.py:function.",
    )


def _read_inputs(tree: FileTree, place: str, name: str) -> dict[str, FlowInput]:
    try:
        module = ast.parse(read(tree, follow(tree, place)))
    except (SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise UsageError.of("cannot be parsed", where=f"{place}{line}", found=str(error)) from error
    defined = {
        node.name: node
        for node in module.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    }
    if name not in defined:
        imported = name in _imported_names(module)
        if imported:
            return {}
        raise UsageError.of(
            f"defines no function or class '{name}'",
            where=place,
            expected=", ".join(map(repr, defined)) or "a function",
            fix=near_match(name, defined),
        )
    found = defined[name]
    if isinstance(found, ast.ClassDef):
        return _call_inputs(found)
    return dict(_parameters(found.args, skip=0))


def _imported_names(module: ast.Module) -> set[str]:
    """Return names that the module has from elsewhere; what they take is not seen here."""
    imports = (node for node in module.body if isinstance(node, (ast.Import, ast.ImportFrom)))
    names = {alias.asname or alias.name for node in imports for alias in node.names}
    assigned = (target for node in module.body if isinstance(node, ast.Assign) for target in node.targets)
    return names | {target.id for target in assigned if isinstance(target, ast.Name)}


def _call_inputs(cls: ast.ClassDef) -> dict[str, FlowInput]:
    for node in cls.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == "__call__":
            return dict(_parameters(node.args, skip=1))
    return {}


def _parameters(arguments: ast.arguments, *, skip: int) -> Iterator[tuple[str, FlowInput]]:
    """Yield the parameters; a callable with `**kwargs` takes any input, so none is declared."""
    if arguments.kwarg is not None:
        return
    positional = [*arguments.posonlyargs, *arguments.args]
    required = len(positional) - len(arguments.defaults)
    for index, argument in enumerate(positional):
        if index >= skip:
            yield argument.arg, _input(argument, has_default=index >= required)
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield argument.arg, _input(argument, has_default=default is not None)


def _input(argument: ast.arg, *, has_default: bool) -> FlowInput:
    kind = ast.unparse(argument.annotation) if argument.annotation else ""
    return FlowInput(type=kind, required=not has_default)
