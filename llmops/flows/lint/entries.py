"""LL5: the entry of a flex flow and the front matter of a prompty file."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from llmops.errors import near_match
from llmops.flows.closure import IMPORTED
from llmops.flows.lint.finding import Finding, Place
from llmops.flows.lint.subject import Module, Subject, parse_module
from llmops.flows.lint.templates import check_roles, check_template, read_template
from llmops.flows.lint.tools import LLM_APIS, Signature, find_method, read_signature
from llmops.flows.tree import read

_ENTRY = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
_CONFIGURATION_TYPES = ("azure_openai", "openai", "serverless")


def check_entry(subject: Subject) -> Iterator[Finding]:
    """Judge the entry of a flex flow against its source."""
    entry, place = subject.definition.data.get("entry"), subject.place("entry")
    if not isinstance(entry, str) or not _ENTRY.match(entry):
        yield Finding(code="LL507", place=place, message=f"the entry is '{entry}'")
        return
    module_name, _, name = entry.partition(":")
    module = _find_module(subject, module_name)
    if module is None:
        known = _modules(subject)
        message = f"there is no module '{module_name}'"
        yield Finding(code="LL501", place=place, message=message, fix=near_match(module_name, known))
    elif module.tree is not None:
        tree = _follow_import(subject, module.tree, name) or module.tree
        yield from _check_callable(subject, tree, module_name, name)


def check_prompty(subject: Subject) -> Iterator[Finding]:
    """Judge a prompty file: its model, its inputs against its template, its sample."""
    yield from _check_model(subject)
    text, line = subject.body
    names = {str(name) for name in subject.mapping("inputs")}
    place = Place(file=subject.definition.where, line=line)
    yield from check_template(text, place, names, owner="the prompty file")
    template = read_template(text)
    if not template.problem:
        for name in sorted(names - template.variables.keys()):
            where = subject.place("inputs", name)
            yield Finding(code="LL303", place=where, message=f"the template does not use the input '{name}'")
    if subject.mapping("model").get("api", "chat") == "chat":
        yield from check_roles(text, place)
    yield from _check_sample(subject)


def _find_module(subject: Subject, dotted: str) -> Module | None:
    path = dotted.replace(".", "/")
    for candidate in (f"{path}.py", f"{path}/__init__.py"):
        if found := subject.module(candidate):
            return found
    for key, source in (subject.closure.files if subject.closure else {}).items():
        inside = key.removeprefix(IMPORTED).removeprefix("src/")
        if key.startswith(IMPORTED) and inside in (f"{path}.py", f"{path}/__init__.py"):
            return parse_module(read(subject.tree, source.path), key.removeprefix(IMPORTED))
    return None


def _follow_import(subject: Subject, tree: ast.Module, name: str, *, steps: int = 5) -> ast.Module | None:
    """Find the module that a module takes a name from; None when it is not of the flow, or comes under another name."""
    for item in tree.body if steps else ():
        if isinstance(item, ast.ImportFrom) and item.module and not item.level:
            taken = any(alias.name == name and alias.asname in (None, name) for alias in item.names)
            found = _find_module(subject, item.module) if taken else None
            if found is not None and found.tree is not None:
                return _follow_import(subject, found.tree, name, steps=steps - 1) or found.tree
    return None


def _modules(subject: Subject) -> list[str]:
    files = subject.closure.files if subject.closure else {}
    return [name.removesuffix(".py").replace("/", ".") for name in files if name.endswith(".py") and name[0] != "."]


def _check_callable(subject: Subject, tree: ast.Module, module_name: str, name: str) -> Iterator[Finding]:
    place = subject.place("entry")
    known = {
        item.name: item for item in tree.body if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    }
    found = known.get(name)
    if found is None:
        if not _may_have(tree, name):
            message = f"module '{module_name}' has no function or class '{name}'"
            yield Finding(code="LL502", place=place, message=message, fix=near_match(name, known))
        return
    if not isinstance(found, ast.ClassDef):
        yield from _check_signature(subject, read_signature(found), name)
        return
    call = find_method(found, "__call__")
    if call is not None:
        yield from _check_signature(subject, read_signature(call, is_method=True), f"{name}.__call__")
    elif not found.bases:
        yield Finding(code="LL502", place=place, message=f"class '{name}' has no __call__")


def _may_have(tree: ast.Module, name: str) -> bool:
    """Say whether a module gets a name in a way that its definitions do not show: an import, an assignment."""
    for item in ast.walk(tree):
        if isinstance(item, (ast.Import, ast.ImportFrom)):
            if any((alias.asname or alias.name) in (name, "*") for alias in item.names):
                return True
        elif isinstance(item, ast.Name) and item.id == name and isinstance(item.ctx, ast.Store):
            return True
    return False


def _check_signature(subject: Subject, signature: Signature, name: str) -> Iterator[Finding]:
    inputs = [str(key) for key in subject.mapping("inputs")]
    for given in inputs:
        if given not in signature.names and not signature.takes_any:
            message = f"'{name}' does not take the input '{given}'"
            fix = near_match(given, signature.names)
            yield Finding(code="LL503", place=subject.place("inputs", given), message=message, fix=fix)
    for required in signature.required:
        if inputs and required not in inputs:
            message = f"the inputs leave out the parameter '{required}' of '{name}'"
            yield Finding(code="LL504", place=subject.place("inputs"), message=message)


def _check_model(subject: Subject) -> Iterator[Finding]:
    model, configuration = subject.mapping("model"), subject.mapping("model", "configuration")
    place = subject.place("model", "configuration") if configuration else subject.place("model")
    api = model.get("api", "chat")
    if api not in LLM_APIS:
        message = f"the model has the unknown api '{api}'"
        where = subject.place("model", "api")
        yield Finding(code="LL505", place=where, message=message, fix=near_match(str(api), LLM_APIS))
    if not configuration:
        yield Finding(code="LL505", place=place, message="the front matter has no model configuration")
        return
    kind = configuration.get("type")
    if kind not in _CONFIGURATION_TYPES and "connection" not in configuration:
        message = f"the model configuration has the unknown type '{kind}'" if kind else "the configuration has no type"
        yield Finding(code="LL505", place=place, message=message, fix=near_match(str(kind), _CONFIGURATION_TYPES))
    if not any(configuration.get(key) for key in ("azure_deployment", "model")) and kind != "serverless":
        message = "the model configuration names neither a model nor a deployment"
        yield Finding(code="LL505", place=place, message=message)


def _check_sample(subject: Subject) -> Iterator[Finding]:
    sample, inputs = subject.definition.data.get("sample"), subject.mapping("inputs")
    if not isinstance(sample, dict):
        return
    for name in sample:
        if str(name) not in inputs:
            message = f"the sample has '{name}', which is no input"
            fix = near_match(str(name), [str(known) for known in inputs])
            yield Finding(code="LL506", place=subject.place("sample", str(name)), message=message, fix=fix)
    for name, body in inputs.items():
        has_default = not isinstance(body, dict) or "default" in body
        if name not in sample and not has_default:
            message = f"the sample leaves out the input '{name}'"
            yield Finding(code="LL506", place=subject.place("sample"), message=message)
