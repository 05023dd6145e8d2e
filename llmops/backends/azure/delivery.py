"""Open the endpoints of a workspace, and what keeps its versions: the workspace itself, or a registry."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from llmops.backends.azure.arm import Arm
from llmops.backends.azure.blobs import Blobs
from llmops.backends.azure.endpoints import AzureEndpoints
from llmops.backends.azure.place import Place
from llmops.backends.azure.registry import AzureRegistry
from llmops.backends.azure.registry_place import RegistryPlace
from llmops.backends.azure.session import open_session, require_sdks
from llmops.backends.azure.workspace_place import WorkspacePlace
from llmops.config.model import Environment


@contextlib.contextmanager
def open_azure_delivery(
    environment: Environment, state: Path, env: Mapping[str, str]
) -> Iterator[tuple[AzureRegistry, AzureEndpoints]]:
    """Open the registry and the endpoints of an environment's workspace; nothing is sent before they are used.

    Args:
        environment: names the workspace, and a registry if there is one.
        state: the project's `.llmops/` folder.
        env: environment variables.

    Raises:
        UsageError: the environment does not say which workspace, or the Azure packages are missing.
    """
    require_sdks()
    with contextlib.ExitStack() as resources:
        arm = resources.enter_context(contextlib.closing(Arm(open_session(environment, state, env))))
        blobs = resources.enter_context(contextlib.closing(Blobs(arm)))
        place: Place = RegistryPlace(arm) if arm.session.settings.registry else WorkspacePlace(arm, blobs)
        endpoints = AzureEndpoints(arm, blobs, place, environment, env)
        resources.callback(endpoints.close)
        yield AzureRegistry(place, state / "azure" / "packages"), endpoints
