"""Expands Azure Pipelines' templates as the service does before a run: `${{ }}`, parameters, `extends`, references.

Source: learn.microsoft.com, azure/devops/pipelines/process/templates, template-parameters and template-expressions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from tests.templates.azure_expressions import ExpressionError, evaluate, to_bool, to_text

MOST_FILES = 100
DEEPEST = 20
"""Older texts name it, newer ones allow more."""

_PARTS = re.compile(r"\$\{\{((?:'(?:[^']|'')*'|(?!\}\}).)*)\}\}", re.DOTALL)
_EACH = re.compile(r"each\s+([A-Za-z_]\w*)\s+in\s+(.+)", re.DOTALL)
_LISTS = ("stages", "jobs", "steps", "variables")
_SELF = "self"


class TemplateError(ValueError):
    """A template that the service would refuse."""


class _Loader(yaml.SafeLoader):
    """YAML as the service reads it: `on` and `yes` are texts, and no key stands twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 as PyYAML has it
        names = [key.value for key, _ in node.value]
        doubled = {name for name in names if names.count(name) > 1}
        if doubled:
            raise TemplateError(f"'{doubled.pop()}' is already defined")
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {}
for tag, pattern, first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|)$", ["~", "n", ""]),
    ("int", r"^-?(?:0|[1-9][0-9]*)$", "-0123456789"),
    ("float", r"^-?[0-9]+\.[0-9]+$", "-0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))


def read(text: str) -> Any:
    """Read YAML as the service does."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 a safe loader


def repositories_of(text: str) -> list[dict[str, Any]]:
    """List the repositories that a pipeline names."""
    return list(read(text).get("resources", {}).get("repositories", []))


@dataclass
class Expander:
    """Expands one pipeline.

    Attributes:
        repositories: alias to the folder that holds the repository; `self` is the pipeline's own.
        variables: what is known before the run, such as `Build.Reason`.
    """

    repositories: Mapping[str, Path]
    variables: Mapping[str, str] = field(default_factory=dict)
    files: int = 0

    def expand(self, text: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Give the pipeline with `stages`, `jobs` or `steps` in which no template and no `${{ }}` is left.

        Args:
            text: of the entry file, in the repository `self`.
            parameters: what the person who starts it has chosen.

        Raises:
            TemplateError: the service would refuse it; the message says why.
        """
        place = _Place(repository=_SELF, path=PurePosixPath("azure-pipelines.yml"))
        document = self._fill(text, place, parameters or {})
        extended = document.pop("extends", None)
        if extended:
            if set(document) & {"stages", "jobs", "steps"}:
                raise TemplateError("a pipeline that extends has no stages, jobs or steps of its own")
            inner = self._include(extended, place, kinds=("stages", "jobs", "steps"))
            document |= {key: value for key, value in inner.items() if key != "parameters"}
        return document

    def _fill(self, text: str, place: _Place, given: Mapping[str, Any]) -> dict[str, Any]:
        """Read a file, bind its parameters, and work out what is in it."""
        self.files += 1
        if self.files > MOST_FILES:
            raise TemplateError(f"{place}: more than {MOST_FILES} files")
        if place.depth > DEEPEST:
            raise TemplateError(f"{place}: nested more than {DEEPEST} deep")
        document = read(text)
        if not isinstance(document, dict):
            raise TemplateError(f"{place}: a mapping is expected")
        declared = document.pop("parameters", [])
        names = {"parameters": bind(declared, given, str(place)), "variables": self._known(document)}
        filled = _Filler(names).mapping(document)
        return {
            key: self._resolve(value, place, key) if key in _LISTS and isinstance(value, list) else value
            for key, value in filled.items()
        }

    def _known(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Give the variables that expressions may name: the service's, and those written on top."""
        own = document.get("variables", {})
        if isinstance(own, list):
            own = {one["name"]: one.get("value", "") for one in own if "name" in one}
        return {**self.variables, **own}

    def _resolve(self, entries: list[Any], place: _Place, kind: str) -> list[Any]:
        """Put the contents of templates where they are named, also inside of stages, jobs and strategies."""
        found: list[Any] = []
        for entry in entries:
            if isinstance(entry, dict) and "template" in entry:
                found += self._include(entry, place, kinds=(kind,))[kind]
            else:
                found.append(self._inside(entry, place))
        return found

    def _inside(self, value: Any, place: _Place) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            key: self._resolve(inner, place, key)
            if key in _LISTS and isinstance(inner, list)
            else self._inside(inner, place)
            for key, inner in value.items()
        }

    def _include(self, reference: Mapping[str, Any], place: _Place, *, kinds: tuple[str, ...]) -> dict[str, Any]:
        unknown = set(reference) - {"template", "parameters"}
        if unknown:
            raise TemplateError(f"{place}: a reference has no {unknown.pop()}")
        target = place.find(reference["template"])
        if target.repository not in self.repositories:
            raise TemplateError(f"{place}: no repository {target.repository}")
        file = self.repositories[target.repository] / target.path
        if not file.is_file():
            raise TemplateError(f"{place}: no file {target}")
        found = self._fill(file.read_text(encoding="utf-8"), target, reference.get("parameters") or {})
        if not set(found) & set(kinds):
            raise TemplateError(f"{target}: {' or '.join(kinds)} expected, found {', '.join(found)}")
        return found


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A file of a repository, and how many files deep it was named."""

    repository: str
    path: PurePosixPath
    depth: int = 1

    def __str__(self) -> str:
        return f"{self.path}@{self.repository}"

    def find(self, name: str) -> _Place:
        """Read a reference: beside this file, from the root after a slash, or in another repository after an `@`."""
        path, _, alias = name.partition("@")
        folder = PurePosixPath() if alias or path.startswith("/") else self.path.parent
        parts: list[str] = []
        for part in (folder / path.lstrip("/")).parts:
            if part != "..":
                parts.append(part)
            elif parts:
                parts.pop()
            else:
                raise TemplateError(f"{self}: {name} leaves the repository")
        return _Place(repository=alias or self.repository, path=PurePosixPath(*parts), depth=self.depth + 1)


def bind(declared: Any, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Give every declared parameter its value.

    Raises:
        TemplateError: one is unknown, missing, of another type, or not among the values that may be.
    """
    if isinstance(declared, dict):  # the old form, without types
        declared = [{"name": name, "type": "any", "default": value} for name, value in declared.items()]
    names = [one["name"] for one in declared]
    for name in given:
        if name not in names:
            raise TemplateError(f"{where}: Unexpected parameter '{name}'")
    bound: dict[str, Any] = {}
    for one in declared:
        name = one["name"]
        if name not in given and "default" not in one:
            raise TemplateError(f"{where}: A value for the '{name}' parameter must be provided")
        value = _cast(given.get(name, one.get("default")), one.get("type", "string"), f"{where}: {name}")
        if "values" in one and value not in [
            _cast(choice, one.get("type", "string"), where) for choice in one["values"]
        ]:
            raise TemplateError(f"{where}: The '{name}' parameter value '{to_text(value)}' is not a valid value")
        bound[name] = value
    return bound


def _cast(value: Any, kind: str, where: str) -> Any:
    if kind not in _TYPES:
        raise TemplateError(f"{where}: no type {kind}")
    try:
        return _TYPES[kind](value)
    except (ExpressionError, ValueError) as error:
        raise TemplateError(f"{where}: a value of the type {kind} is expected") from error


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if to_text(value).lower() not in ("true", "false"):
        raise ValueError
    return to_text(value).lower() == "true"


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError  # noqa: TRY004 the caller speaks of values
    return float(to_text(value)) if "." in to_text(value) else int(to_text(value))


def _item(*keys: str) -> Callable[[Any], Any]:
    def cast(value: Any) -> Any:
        if not isinstance(value, dict) or not set(value) & {*keys, "template"}:
            raise ValueError
        return value

    return cast


def _list_of(cast: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    def cast_all(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise ValueError  # noqa: TRY004 the caller speaks of values
        return [cast(item) for item in value]

    return cast_all


_STEP = _item("bash", "script", "task", "checkout", "download", "publish", "powershell", "pwsh")
_JOB, _DEPLOYMENT, _STAGE = _item("job", "deployment"), _item("deployment"), _item("stage")
_TYPES: Mapping[str, Callable[[Any], Any]] = {
    "any": lambda value: value,
    "object": lambda value: value,
    "string": to_text,
    "number": _number,
    "boolean": _boolean,
    "stringList": _list_of(to_text),
    "step": _STEP,
    "stepList": _list_of(_STEP),
    "job": _JOB,
    "jobList": _list_of(_JOB),
    "deployment": _DEPLOYMENT,
    "deploymentList": _list_of(_DEPLOYMENT),
    "stage": _STAGE,
    "stageList": _list_of(_STAGE),
}


@dataclass(frozen=True)
class _Filler:
    """Works out the expressions of a document."""

    contexts: Mapping[str, Any]

    def value(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self.mapping(value)
        if isinstance(value, list):
            return self.sequence(value)
        return self.text(value) if isinstance(value, str) else value

    def mapping(self, value: Mapping[Any, Any]) -> dict[Any, Any]:
        """Work out keys and values; what `if`, `each` and `insert` give is merged in."""
        found: dict[Any, Any] = {}
        for key, inner in self._chosen(value.items()):
            if key is None:
                merged = [part for part in inner if part is not None]
                if not all(isinstance(part, dict) for part in merged):
                    raise TemplateError("a mapping is expected where a mapping is inserted")
                pairs = [pair for part in merged for pair in part.items()]
            else:
                pairs = [(to_text(self.text(key)) if isinstance(key, str) else key, self.value(inner))]
            for name, one in pairs:
                if name in found:
                    raise TemplateError(f"'{name}' is already defined")
                found[name] = one
        return found

    def sequence(self, value: list[Any]) -> list[Any]:
        """Work out items; a lone expression that is a list, and what `if` and `each` give, is spliced in."""
        found: list[Any] = []
        branch = _Branch()
        for item in value:
            key = next(iter(item)) if isinstance(item, dict) and len(item) == 1 else None
            directive = _directive(key)
            if directive:
                for part in self._run(directive, item[key], branch):
                    found += part if isinstance(part, list) else [part]
                continue
            branch.taken = None
            one = self.value(item)
            is_spliced = isinstance(item, str) and isinstance(one, list)
            found += one if is_spliced else [one]
        return found

    def text(self, text: str) -> Any:
        """Work out a text; a lone expression keeps its type."""
        lone = _PARTS.fullmatch(text.strip())
        if lone:
            return self._evaluate(lone[1])
        return _PARTS.sub(lambda part: to_text(self._evaluate(part[1])), text)

    def _chosen(self, pairs: Any) -> Iterator[tuple[Any, Any]]:
        """Give plain pairs as they are, and None with the list of what a directive gives."""
        branch = _Branch()
        for key, inner in pairs:
            directive = _directive(key)
            if directive:
                yield None, self._run(directive, inner, branch)
            else:
                branch.taken = None
                yield key, inner

    def _run(self, directive: str, body: Any, branch: _Branch) -> list[Any]:
        word, _, rest = directive.partition(" ")
        if word == "insert":
            return [self.value(body)]
        if word == "each":
            return self._each(directive, body)
        if word != "if" and branch.taken is None:
            raise TemplateError(f"{word} without an if before it")
        is_open = word == "if" or not branch.taken
        holds = is_open and (word == "else" or to_bool(self._evaluate(rest)))
        branch.taken = holds or (word != "if" and bool(branch.taken))
        return [self.value(body)] if holds else []

    def _each(self, directive: str, body: Any) -> list[Any]:
        found = _EACH.fullmatch(directive)
        if not found:
            raise TemplateError(f"not a loop: {directive}")
        values = self._evaluate(found[2])
        items = [{"key": key, "value": one} for key, one in values.items()] if isinstance(values, dict) else values
        if not isinstance(items, list):
            raise TemplateError(f"each goes over lists and mappings: {directive}")
        return [_Filler({**self.contexts, found[1]: item}).value(body) for item in items]

    def _evaluate(self, text: str) -> Any:
        try:
            return evaluate(text.strip(), self.contexts)
        except ExpressionError as error:
            raise TemplateError(f"{text.strip()}: {error}") from error


@dataclass
class _Branch:
    """Whether a chain of `if`, `elseif` and `else` has found its branch; None outside of one."""

    taken: bool | None = None


def _directive(key: Any) -> str:
    """Give what a key such as `${{ if … }}` says; empty for every other key."""
    found = _PARTS.fullmatch(key.strip()) if isinstance(key, str) else None
    inner = found[1].strip() if found else ""
    return inner if re.match(r"(?:if|elseif|else|each|insert)\b(?!\s*\()", inner) else ""
