"""Where a registry is, which must be asked: its name is all that an environment says.

Source: `azure.ai.ml._utils._registry_utils`, 1.32.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from llmops.backends.azure.arm import Arm
from llmops.backends.azure.refusals import NotThereError
from llmops.backends.azure.settings import PROVIDER
from llmops.errors import BackendError, Problem

_SERVICE = "mferp/managementfrontend"


class RegistryHome(NamedTuple):
    """Where a registry is.

    Attributes:
        id: in Azure Resource Manager.
        url: where it is served; its assets are below.
        regions: whose workspaces can use it; empty when Azure does not say.
    """

    name: str
    id: str
    url: str
    regions: Sequence[str]

    def find_obstacles(self, location: str) -> Iterator[Problem]:
        """Find what keeps workspaces of a region from using the registry."""
        if self.regions and _plain(location) not in map(_plain, self.regions):
            yield Problem(
                what=f"the registry '{self.name}' is not in the workspace's region",
                where="azure.registry",
                found=", ".join(self.regions),
                expected=location,
                fix="Add the region to the registry, or name a registry that has it.",
            )


def discover(arm: Arm) -> RegistryHome:
    """Ask where the environment's registry is.

    Raises:
        BackendError: there is none of that name, or this identity may not know of it.
    """
    settings = arm.session.settings
    name, base = settings.registry, settings.cloud.registry_discovery_endpoint
    url = f"{base}/registrymanagement/v1.0/registries/{name}/discovery"
    try:
        found = arm.send("GET", url, version="", what=f"find the registry '{name}'").body
    except NotThereError as error:
        raise BackendError.of(
            f"there is no registry '{name}'",
            where="azure.registry",
            found=error.problems[0].found,
            expected="the name of a registry that this identity may read",
            fix="See the names: az ml registry list. Or leave azure.registry out: the workspace keeps the versions.",
        ) from error
    scope = f"/subscriptions/{found['subscriptionId']}/resourceGroups/{found['resourceGroup']}/providers/{PROVIDER}"
    served = str(found["primaryRegionResourceProviderUri"]).rstrip("/")
    path = f"{scope}/registries/{name}"
    return RegistryHome(name, path, f"{served}/{_SERVICE}{path}", [str(one) for one in found.get("regions") or ()])


def _plain(region: str) -> str:
    return region.replace(" ", "").lower()
