"""Connections: from what is written in an environment file to what a flow is given.

A value may hold `${env:NAME}`; a secret must be such a reference and nothing else. References are expanded when a
connection is used, so that a file with many connections needs only the variables of those in use.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from llmops.config.model import Connection, ConnectionType
from llmops.errors import Problem, UsageError

AZURE_API_VERSION = "2024-10-21"
"""Azure OpenAI API version when neither the connection nor AZURE_OPENAI_API_VERSION names one."""

_REFERENCE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRETS = ("api_key", "secrets")


class Secret:
    """A value that never shows itself: not in messages, reprs, JSON or format strings."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value; for the process that uses it and nothing else."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not pickled")


class _Default(NamedTuple):
    """Where a field's value comes from when the file has none.

    Attributes:
        variable: the environment variable that is read.
        is_required: whether it is an error when nothing gives a value.
        fallback: the value when the variable is not set.
    """

    variable: str = ""
    is_required: bool = False
    fallback: str | None = None


_FIELDS: Mapping[ConnectionType, Mapping[str, _Default]] = {
    "stand_in": {},
    "open_ai": {
        "api_key": _Default("OPENAI_API_KEY", is_required=True),
        "base_url": _Default("OPENAI_BASE_URL"),
        "organization": _Default(),
    },
    "azure_open_ai": {
        "api_key": _Default("AZURE_OPENAI_API_KEY", is_required=True),
        "api_base": _Default("AZURE_OPENAI_ENDPOINT", is_required=True),
        "api_version": _Default("AZURE_OPENAI_API_VERSION", fallback=AZURE_API_VERSION),
    },
    "serverless": {"api_key": _Default(is_required=True), "api_base": _Default(is_required=True)},
    "custom": {"configs": _Default(), "secrets": _Default()},
    "workspace": {},
}
"""The fields that each type of connection has."""

_TEXT_FIELDS = ("api_key", "base_url", "api_base", "api_version", "organization")
_MAPPING_FIELDS = ("configs", "secrets")


@dataclass(frozen=True, kw_only=True)
class ResolvedConnection:
    """A connection whose references are expanded.

    Attributes:
        base_url: None: OpenAI's own address (`open_ai`), or the stand-in's, which the engine knows (`stand_in`).
    """

    name: str
    type: ConnectionType
    api_key: Secret | None
    base_url: str | None
    api_base: str | None
    api_version: str | None
    organization: str | None
    configs: Mapping[str, str]
    secrets: Mapping[str, Secret]


def reach_stand_in(connections: Mapping[str, ResolvedConnection]) -> bool:
    """Tell whether one of the connections leads to the stand-in model, which is no real model."""
    return any(one.type == "stand_in" for one in connections.values())


def find_faults(connection: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Problem]]:
    """Find what no environment variable could mend; yields the path in the connection and a problem without a place.

    Args:
        connection: the keys that are given, with values of the right types.
    """
    fields = _FIELDS[connection["type"]]
    for field, value in connection.items():
        if field == "type" or not value:
            continue
        if field not in fields:
            expected = ", ".join(f"'{name}'" for name in fields) or "no further keys"
            yield (
                (field,),
                Problem(what=f"a connection of type '{connection['type']}' has no '{field}'", expected=expected),
            )
            continue
        texts = value.items() if isinstance(value, Mapping) else [("", value)]
        for key, text in texts:
            problem = _judge(text, is_secret=field in _SECRETS)
            if problem:
                yield ((field, key) if key else (field,)), problem


def _judge(text: str, *, is_secret: bool) -> Problem | None:
    if is_secret and not _REFERENCE.fullmatch(text):
        fix = "Put the secret into an environment variable and refer to it."
        return Problem(what="a secret in a file", found="a literal value, not shown", expected="${env:NAME}", fix=fix)
    if "${" in _REFERENCE.sub("", text):
        return Problem(what="malformed reference", found=f"'{text}'", expected="${env:NAME}")
    return None


def resolve_connection(connection: Connection, name: str, env: Mapping[str, str]) -> ResolvedConnection:
    """Expand the references of one connection.

    Args:
        name: the connection's name, for messages.
        env: environment variables; one that is set to nothing counts as not set.

    Raises:
        UsageError: one problem for each variable that is not set, each secret that is no reference, each field that
            the type does not have. No problem shows a value.
    """
    return resolve_connections({name: connection}, env)[name]


def resolve_connections(
    connections: Mapping[str, Connection], env: Mapping[str, str], *, needs_values: bool = True
) -> Mapping[str, ResolvedConnection]:
    """Expand the references of several connections; see `resolve_connection`.

    Args:
        needs_values: False takes a variable that is not set for an empty one.

    Raises:
        UsageError: the problems of all of them.
    """
    problems: list[Problem] = []
    resolved = {
        name: _Resolver(connection, name, env, problems.append, needs_values=needs_values).resolve()
        for name, connection in connections.items()
    }
    if problems:
        raise UsageError(*problems)
    return resolved


class _Resolver:
    def __init__(
        self,
        connection: Connection,
        name: str,
        env: Mapping[str, str],
        report: Callable[[Problem], None],
        *,
        needs_values: bool,
    ) -> None:
        self.needs_values = needs_values
        self.connection = connection
        self.name = name
        self.env = env
        self.report = report

    def resolve(self) -> ResolvedConnection:
        given = {field: getattr(self.connection, field) for field in ("type", *_TEXT_FIELDS, *_MAPPING_FIELDS)}
        faulty = set()
        for path, problem in find_faults(given):
            faulty.add(path[0])
            where = ".".join(("connections", self.name, *path))
            self.report(Problem(what=problem.what, where=where, expected=problem.expected, fix=problem.fix))
        texts = {field: None if field in faulty else self.text(field) for field in _TEXT_FIELDS}
        key = texts.pop("api_key")
        maps = {field: {} if field in faulty else self.mapping(field) for field in _MAPPING_FIELDS}
        return ResolvedConnection(
            name=self.name,
            type=self.connection.type,
            api_key=None if key is None else Secret(key),
            base_url=texts["base_url"],
            api_base=texts["api_base"],
            api_version=texts["api_version"],
            organization=texts["organization"],
            configs=maps["configs"],
            secrets={entry: Secret(value) for entry, value in maps["secrets"].items()},
        )

    def text(self, field: str) -> str | None:
        written = getattr(self.connection, field)
        if written:
            return self.expand(written, field)
        default = _FIELDS[self.connection.type].get(field, _Default())
        value = self.env.get(default.variable) or default.fallback
        if value is None and default.is_required:
            self.report_missing(field, default.variable)
        return value

    def mapping(self, field: str) -> dict[str, str]:
        written: Mapping[str, str] = getattr(self.connection, field)
        return {key: self.expand(text, f"{field}.{key}") for key, text in written.items()}

    def expand(self, text: str, field: str) -> str:
        for variable in dict.fromkeys(_REFERENCE.findall(text)):
            if not self.env.get(variable):
                self.report_missing(field, variable)
        return _REFERENCE.sub(lambda match: self.env.get(match.group(1), ""), text)

    def report_missing(self, field: str, variable: str) -> None:
        where = f"connections.{self.name}.{field}"
        if not self.needs_values:
            return
        if not variable:
            self.report(Problem(what=f"missing key '{field}'", where=where, expected="a value or ${env:NAME}"))
            return
        state = "is empty" if variable in self.env else "is not set"
        fix = f"Set {variable}, or choose an environment whose connections do not need it."
        self.report(Problem(what=f"the environment variable {variable} {state}", where=where, fix=fix))


def identity(resolved: ResolvedConnection) -> str:
    """Name what answers: type, address, API version, organization. Never a secret.

    Two connections with one identity are taken to give the same answers, so the identity is part of cache keys. The
    stand-in's is a constant, whatever port it listens on.
    """
    if resolved.type == "custom":
        body = json.dumps([sorted(resolved.configs.items()), sorted(resolved.secrets)]).encode()
        return f"custom sha256:{hashlib.sha256(body).hexdigest()[:16]}"
    address = resolved.base_url or resolved.api_base
    parts = {
        "": _without_credentials(address) if address else "",
        "api-version=": resolved.api_version or "",
        "organization=": resolved.organization or "",
    }
    if resolved.type == "stand_in":
        return "stand_in"
    if resolved.type == "workspace":
        return f"workspace {resolved.name}"
    return " ".join([resolved.type, *(f"{label}{text}" for label, text in parts.items() if text)])


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")


def expand_variables(variables: Mapping[str, str], env: Mapping[str, str]) -> Mapping[str, str]:
    """Expand `${env:NAME}` in the environment variables of a worker.

    Raises:
        UsageError: one problem for each variable that is not set; no problem shows a value.
    """
    problems: list[Problem] = []

    def expand(name: str, text: str) -> str:
        for variable in dict.fromkeys(_REFERENCE.findall(text)):
            if variable not in env:
                what = f"the environment variable {variable} is not set"
                problems.append(Problem(what=what, where=f"environment_variables.{name}", fix=f"Set {variable}."))
        return _REFERENCE.sub(lambda match: env.get(match.group(1), ""), text)

    expanded = {name: expand(name, text) for name, text in variables.items()}
    if problems:
        raise UsageError(*problems)
    return expanded
