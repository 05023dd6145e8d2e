"""LL2: the nodes of a DAG flow and the tools that they run, read from the syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmops.errors import near_match
from llmops.flows.lint.finding import Finding, Place
from llmops.flows.lint.literals import fits_type
from llmops.flows.lint.returns import Function
from llmops.flows.lint.subject import Module, Subject, parse_reference
from llmops.flows.nodes import Node

NODE_TYPES = ("llm", "prompt", "python", "custom_llm")
LLM_APIS = ("chat", "completion")
LLM_PARAMETERS = frozenset(
    {
        "model",
        "deployment_name",
        "temperature",
        "top_p",
        "n",
        "stop",
        "stream",
        "max_tokens",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "user",
        "functions",
        "function_call",
        "tools",
        "tool_choice",
        "response_format",
        "seed",
        "logprobs",
        "top_logprobs",
        "echo",
        "suffix",
        "best_of",
    }
)
"""Inputs of an LLM node that go to the model's API and not to the template."""

_RANGES: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
}
_COUNTS = ("max_tokens", "n")
_CONVERTIBLE = ("int", "float", "bool", "list")


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The parameters of a callable.

    Attributes:
        names: all parameters that have a name, in order, without `self`.
        required: those without a default.
        annotations: parameter to its annotation, for those that are annotated with a plain name.
        takes_any: whether it has `**kwargs`.
    """

    names: tuple[str, ...]
    required: tuple[str, ...]
    annotations: Mapping[str, str]
    takes_any: bool


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A function that is decorated with `@tool`, with the class that holds it."""

    function: Function
    owner: ast.ClassDef | None = None

    @property
    def signature(self) -> Signature:
        """The parameters of the function, and of its class's constructor."""
        own = read_signature(self.function, is_method=self.owner is not None)
        start = find_method(self.owner, "__init__") if self.owner else None
        if start is None:
            return own
        made = read_signature(start, is_method=True)
        return Signature(
            names=(*made.names, *own.names),
            required=(*made.required, *own.required),
            annotations={**made.annotations, **own.annotations},
            takes_any=made.takes_any or own.takes_any,
        )


def read_signature(function: Function, *, is_method: bool = False) -> Signature:
    """Read the parameters of a function."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    with_default = {argument.arg for argument in positional[len(positional) - len(arguments.defaults) :]}
    with_default |= {
        argument.arg
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is not None
    }
    parameters = [*positional[is_method:], *arguments.kwonlyargs]
    return Signature(
        names=tuple(parameter.arg for parameter in parameters),
        required=tuple(parameter.arg for parameter in parameters if parameter.arg not in with_default),
        annotations={
            parameter.arg: parameter.annotation.id
            for parameter in parameters
            if isinstance(parameter.annotation, ast.Name)
        },
        takes_any=arguments.kwarg is not None,
    )


def find_method(owner: ast.ClassDef, name: str) -> Function | None:
    """Find a method by its name."""
    functions = (item for item in owner.body if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return next((function for function in functions if function.name == name), None)


def find_tools(module: ast.Module) -> list[Tool]:
    """List what a module decorates with `@tool`, by whatever name it imports that."""
    names = {"tool", *_aliases(module)}
    found: list[Tool] = []
    for item in _top_level(module.body):
        if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)) and _is_tool(item, names):
            found.append(Tool(function=item))
        elif isinstance(item, ast.ClassDef):
            methods = (part for part in item.body if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)))
            found += [Tool(function=part, owner=item) for part in methods if _is_tool(part, names)]
    return found


def check_tools(subject: Subject) -> Iterator[Finding]:
    """Judge the nodes of a DAG flow, each variant of them."""
    for node in subject.nodes:
        if node.body.get("type") in ("llm", "custom_llm"):
            yield from _check_model_node(subject, node)
        yield from _check_source(subject, node)


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for item in body:
        yield item
        if isinstance(item, (ast.If, ast.Try, ast.With)):
            yield from _top_level([part for part in ast.iter_child_nodes(item) if isinstance(part, ast.stmt)])


def _aliases(module: ast.Module) -> Iterator[str]:
    for item in module.body:
        if isinstance(item, ast.ImportFrom) and (item.module or "").startswith("promptflow"):
            yield from (alias.asname for alias in item.names if alias.name == "tool" and alias.asname)


def _is_tool(function: Function, names: set[str]) -> bool:
    for decorator in function.decorator_list:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        if (isinstance(target, ast.Name) and target.id in names) or (
            isinstance(target, ast.Attribute) and target.attr == "tool"
        ):
            return True
    return False


def _check_model_node(subject: Subject, node: Node) -> Iterator[Finding]:
    what = f"node '{node.name}'" + (f" (variant '{node.variant}')" if node.variant else "")
    if node.body.get("type") == "llm":
        if not node.body.get("connection"):
            yield Finding(code="LL207", place=subject.place(*node.keys), message=f"LLM {what} has no connection")
        if not any(node.inputs.get(name) for name in ("model", "deployment_name")):
            place = subject.place(*node.keys, "inputs")
            yield Finding(code="LL208", place=place, message=f"LLM {what} names neither a model nor a deployment")
        api = node.body.get("api")
        if api not in LLM_APIS:
            found = f"has the unknown api '{api}'" if api else "has no api"
            place = subject.place(*node.keys, "api")
            yield Finding(code="LL209", place=place, message=f"LLM {what} {found}", fix=near_match(str(api), LLM_APIS))
    for name, value in node.inputs.items():
        if not _is_in_range(str(name), value):
            place = subject.place(*node.keys, "inputs", str(name))
            yield Finding(code="LL210", place=place, message=f"{what} has {name} {value}")


def _is_in_range(name: str, value: Any) -> bool:
    if value is None or value == "" or parse_reference(value) is not None or name not in (*_RANGES, *_COUNTS):
        return True
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value).lower() == "inf" and name in _COUNTS
    if name in _COUNTS:
        return number >= 1 and (number == int(number) if number != float("inf") else True)
    low, high = _RANGES[name]
    return low <= number <= high


def _check_source(subject: Subject, node: Node) -> Iterator[Finding]:
    source = node.body.get("source")
    path = node.source_path
    if path is None:
        if not (isinstance(source, dict) and isinstance(source.get("tool"), str)):
            message = f"node '{node.name}' names no file in its source"
            yield Finding(code="LL110", place=subject.place(*node.keys, "source"), message=message)
        return
    place = subject.place(*node.keys, "source", "path")
    if subject.file(path) is None:
        message = f"node '{node.name}' names the file '{path}', which does not exist"
        yield Finding(code="LL201", place=place, message=message, fix=near_match(path, _files(subject)))
    elif node.body.get("type") == "python":
        module = subject.module(path)
        if module is not None:
            yield from _check_python(subject, node, module, place)


def _files(subject: Subject) -> list[str]:
    return [name for name in subject.closure.files if not name.startswith(".")] if subject.closure else []


def _check_python(subject: Subject, node: Node, module: Module, place: Place) -> Iterator[Finding]:
    if module.tree is None:
        return  # LL202 is reported once for each file, see `packages`
    tools = find_tools(module.tree)
    if len(tools) != 1:
        names = ", ".join(f"'{tool.function.name}'" for tool in tools)
        message = f"'{node.source_path}' has {f'several tools: {names}' if tools else 'no function with @tool'}"
        yield Finding(code="LL203", place=place, message=message)
        return
    yield from _check_parameters(subject, node, tools[0])


def _check_parameters(subject: Subject, node: Node, tool: Tool) -> Iterator[Finding]:
    signature, name = tool.signature, tool.function.name
    for given, value in node.inputs.items():
        place = subject.place(*node.keys, "inputs", str(given))
        if given not in signature.names:
            if not signature.takes_any:
                message = f"node '{node.name}' passes '{given}', which '{name}' does not take"
                missing = [known for known in signature.names if known not in node.inputs]
                yield Finding(code="LL204", place=place, message=message, fix=near_match(str(given), missing))
        elif not _fits(value, signature.annotations.get(str(given), "")):
            message = f"node '{node.name}' passes '{given}' a value that is no {signature.annotations[str(given)]}"
            yield Finding(code="LL206", place=place, message=message)
    for required in signature.required:
        if node.inputs.get(required) in (None, ""):
            place = subject.place(*node.keys, "inputs")
            message = f"node '{node.name}' gives no value to the parameter '{required}' of '{name}'"
            yield Finding(code="LL205", place=place, message=message)


def _fits(value: Any, annotation: str) -> bool:
    if annotation not in _CONVERTIBLE or value in (None, "") or parse_reference(value) is not None:
        return True
    return fits_type(value, "double" if annotation == "float" else annotation)
