"""What would keep a deployment from being made or from working, found before anything is created."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from llmops.backends.azure.arm import Arm, Document
from llmops.backends.azure.discovery import discover
from llmops.backends.azure.models import ModelUse, WorkspaceModels, uses_of
from llmops.backends.azure.roles import AUTOSCALE, DEPLOY, FROM_REGISTRY, Need, needs_of, read_permissions
from llmops.backends.azure.serving import AzureServing
from llmops.backends.azure.settings import PROVIDER
from llmops.backends.packages import MANIFEST
from llmops.backends.protocols import DeploymentRequest
from llmops.errors import LlmopsError, Problem, near_match
from llmops.flows.overlay import lay_over
from llmops.records import read_record
from llmops.releases import Manifest

QUOTA_VERSION = "2024-10-01"
UPGRADE_SHARE = 1.2
"""Azure keeps a fifth of the quota for upgrades. Source: how-to-manage-quotas.md."""


@dataclass(frozen=True)
class Preflight:
    """Looks at a workspace before a deployment is made in it."""

    arm: Arm
    location: str
    serving: AzureServing

    def find(self, request: DeploymentRequest) -> Sequence[Problem]:
        """Return every obstacle; what cannot be looked at, because a role is missing for it, is none."""
        return [
            *self._roles(),
            *self._registry(),
            *self.quota(),
            *WorkspaceModels(self.arm).find_obstacles(sorted(request.connections), _uses(request)),
        ]

    def _roles(self) -> Iterator[Problem]:
        settings = self.arm.session.settings
        needs = [*needs_of(DEPLOY, has_registry=bool(settings.registry))]
        if self.serving.autoscale:
            needs += needs_of(AUTOSCALE, has_registry=False)
        yield from self._missing(needs, f"workspace '{settings.workspace}'")

    def _registry(self) -> Iterator[Problem]:
        if not self.arm.session.settings.registry:
            return
        home = discover(self.arm)
        yield from home.find_obstacles(self.location)
        needs = needs_of(FROM_REGISTRY, has_registry=True)
        yield from self._missing(needs, f"registry '{home.name}'", registry=home.id)

    def _missing(self, needs: Sequence[Need], where: str, registry: str = "") -> Iterator[Problem]:
        try:
            missing = read_permissions(self.arm, registry).missing(needs)
        except LlmopsError:
            return
        for need in missing:
            yield Problem(
                what=f"this identity may not do {need.action}",
                where=where,
                fix=f"Give it the role {need.role}, or a role of your own with this action.",
            )

    def quota(self) -> Iterator[Problem]:
        """Find what of the quota is too small for one more deployment."""
        base = f"/subscriptions/{self.arm.session.settings.subscription_id}/providers/{PROVIDER}"
        place = f"{base}/locations/{self.location}"
        try:
            sizes = self._listed(f"{place}/vmSizes", "list the sizes of machines")
            usages = self._listed(f"{place}/usages", "read the quota")
        except LlmopsError:
            return
        size = next((one for one in sizes if one["name"].lower() == self.serving.instance_type.lower()), None)
        if size is None:
            if sizes:
                names = [one["name"] for one in sizes]
                yield Problem(
                    what=f"no machines of the type '{self.serving.instance_type}' in {self.location}",
                    where="serving.instance_type",
                    fix=near_match(self.serving.instance_type, names),
                )
            return
        count = self.serving.autoscale.max_instances if self.serving.autoscale else self.serving.instance_count
        needed = math.ceil(int(size["vCPUs"]) * count * UPGRADE_SHARE)
        for usage in usages:
            free = max(0, int(usage["limit"]) - int(usage["currentValue"]))
            if _concerns(usage, str(size.get("family", ""))) and int(usage["limit"]) >= 0 and free < needed:
                yield Problem(
                    what=f"the quota '{usage['name'].get('localizedValue') or usage['name']['value']}' is too small",
                    where=f"subscription {self.arm.session.settings.subscription_id}, {self.location}",
                    found=f"{free} of {usage['limit']} cores are free",
                    expected=f"{needed} for {count} x {size['name']}, a fifth of them for upgrades",
                    fix="Ask for more quota, choose another `serving.instance_type`, or delete deployments.",
                )

    def _listed(self, path: str, what: str) -> list[Document]:
        return list(self.arm.list(path, version=QUOTA_VERSION, what=what))


def _concerns(usage: Mapping[str, Any], family: str) -> bool:
    """Tell whether a quota counts machines of a family: its own does, and the one over all."""
    name = str(usage["name"]["value"]).lower()
    return name == family.lower() or name.startswith("total cluster dedicated")


def _uses(request: DeploymentRequest) -> Iterator[ModelUse]:
    """Yield the LLM nodes of the flow, as the version has them."""
    manifest = read_record(request.package / MANIFEST, Manifest)
    if manifest.flow_kind != "dag":
        return
    path = request.package / manifest.project / manifest.flow.path / manifest.definition
    definition = yaml.safe_load(path.read_text(encoding="utf-8-sig")) or {}
    lay_over(definition, manifest.flow.variants, manifest.flow.nodes, where=manifest.flow.path)
    yield from uses_of(definition, manifest.flow.path)
