"""The connections of a workspace and the models that flows reach through them, looked at before anything is created."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from llmops.backends.azure.arm import Arm, Document
from llmops.backends.protocols import FlowSource, RunRequest
from llmops.config.connections import ResolvedConnection, reach_stand_in
from llmops.errors import LlmopsError, Problem
from llmops.flows.overlay import chosen_body, lay_over

CONNECTION_VERSION = "2024-04-01-preview"
STAND_IN = "llmops.stand_in"
"""Metadata of a connection that leads to the stand-in model."""

ACCOUNT_VERSION = "2024-10-01"

RETIRED: Mapping[str, Sequence[str]] = {
    "gpt-35-turbo": ("0301", "0613"),
    "gpt-35-turbo-16k": ("0613",),
    "gpt-4": ("0314", "vision-preview"),
    "gpt-4-32k": ("0314", "0613"),
    **dict.fromkeys(
        ("text-ada-001", "text-babbage-001", "text-curie-001", "text-davinci-002", "text-davinci-003"), ("",)
    ),
    **dict.fromkeys(("code-cushman-001", "code-davinci-002"), ("",)),
}
"""Models of Azure OpenAI that answer no more: name to versions; an empty version is every one.

Source: https://learn.microsoft.com/azure/ai-services/openai/concepts/model-retirements, as of 2025-07.
"""


class ModelUse(NamedTuple):
    """One node that asks a model.

    Attributes:
        where: for messages.
        deployment: of the account that the connection names.
    """

    where: str
    connection: str
    deployment: str


@dataclass(frozen=True)
class WorkspaceModels:
    """Looks at connections and model deployments; what this identity may not look at is passed over."""

    arm: Arm
    _connections: dict[str, Document | None] = field(default_factory=dict)

    def find_obstacles(self, connections: Iterable[str], uses: Iterable[ModelUse]) -> Sequence[Problem]:
        """Name the connections and model deployments that are missing, and models that are retired."""
        return [*self.missing(connections), *self._models(uses)]

    def missing(self, connections: Iterable[str]) -> Iterator[Problem]:
        """Name the connections that the workspace lacks."""
        for name in connections:
            if self._connection(name) is None:
                yield Problem(
                    what=f"the workspace has no connection '{name}'",
                    where=f"workspace '{self.arm.session.settings.workspace}'",
                    fix="Add it there under this name; what runs or serves there finds no other connections.",
                )

    def reach_stand_in(self, connections: Mapping[str, ResolvedConnection]) -> bool:
        """Tell whether one of the connections leads to the stand-in model, which is no real model."""
        return reach_stand_in(connections) or any(STAND_IN in self.metadata(name) for name in connections)

    def _models(self, uses: Iterable[ModelUse]) -> Iterator[Problem]:
        for use in uses:
            resource = str(self.metadata(use.connection).get("ResourceId") or "")
            if resource:
                yield from self._deployment(resource, use)

    def _deployment(self, resource: str, use: ModelUse) -> Iterator[Problem]:
        path, what = f"{resource}/deployments/{use.deployment}", f"read the model deployment '{use.deployment}'"
        try:
            found = self.arm.get(path, version=ACCOUNT_VERSION, what=what)
        except LlmopsError:
            return
        if found is None:
            yield Problem(
                what=f"no model deployment '{use.deployment}'",
                where=use.where,
                found=f"none of this name in {resource.rpartition('/')[2]}",
                fix="Deploy the model under this name, or name another deployment in the flow.",
            )
        elif is_retired(model := found["properties"]["model"]):
            yield Problem(
                what=f"the model of the deployment '{use.deployment}' is retired",
                where=use.where,
                found=f"{model['name']} {model.get('version', '')}".strip(),
                fix="Deploy a newer model, then run `llmops check`: another model answers otherwise.",
            )

    def metadata(self, connection: str) -> Mapping[str, Any]:
        """Return what a connection says of itself; nothing when it may not be looked at."""
        return self._properties(connection).get("metadata") or {}

    def is_custom(self, connection: str) -> bool:
        """Tell whether a connection has keys of its own."""
        return str(self._properties(connection).get("category", "")).lower() == "customkeys"

    def _properties(self, name: str) -> Mapping[str, Any]:
        return (self._connection(name) or {}).get("properties") or {}

    def _connection(self, name: str) -> Document | None:
        """Read a connection once: None when there is none, and an empty one when it may not be looked at."""
        if name not in self._connections:
            path, what = self.arm.path(f"connections/{name}"), f"read the connection '{name}'"
            try:
                self._connections[name] = self.arm.get(path, version=CONNECTION_VERSION, what=what)
            except LlmopsError:
                self._connections[name] = {}
        return self._connections[name]


def find_run_obstacles(models: WorkspaceModels, request: RunRequest, *, is_job: bool) -> Sequence[Problem]:
    """Find what would keep a run from reaching its models.

    Args:
        models: of the workspace.
        request: the run; one without connections asks nothing.
        is_job: the run brings what is not kept in the workspace itself.
    """
    names = [name for name, one in request.connections.items() if not is_job or one.type == "workspace"]
    uses = [use for use in _uses_of_source(request.source) if use.connection in names] if names else []
    return models.find_obstacles(names, uses)


def _uses_of_source(source: FlowSource) -> Iterator[ModelUse]:
    if source.flow.kind == "dag":
        definition = copy.deepcopy(dict(source.flow.data))
        lay_over(definition, source.ref.variants, source.ref.nodes, where=source.ref.path)
        yield from uses_of(definition, source.ref.path)


def uses_of(definition: Mapping[str, Any], where: str) -> Iterator[ModelUse]:
    """Yield the nodes of a DAG flow that ask a model deployment, as the chosen variants have them."""
    for node in definition.get("nodes") or []:
        body = chosen_body(definition, node)
        deployment = (body.get("inputs") or {}).get("deployment_name")
        if isinstance(body.get("connection"), str) and isinstance(deployment, str) and "${" not in deployment:
            yield ModelUse(f"{where}: node '{node['name']}'", body["connection"], deployment)


def is_retired(model: Mapping[str, Any]) -> bool:
    """Tell whether a model of Azure OpenAI answers no more: `name`, and `version` if it has one."""
    versions = RETIRED.get(str(model.get("name", "")), ())
    return "" in versions or str(model.get("version", "")) in versions
