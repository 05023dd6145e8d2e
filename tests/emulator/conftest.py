"""One emulator for these tests, and a client that reaches it as the SDKs do: through its proxy, over TLS."""

from __future__ import annotations

import itertools
import ssl
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from llmops.emulator.azurite_process import install_azurite
from llmops.emulator.emulator import Emulator
from llmops.emulator.settings import Settings

ARM = "https://management.azure.com"
DATA = "https://eastus.api.azureml.ms"
VERSION = {"api-version": "2024-10-01-preview"}
SETTINGS = Settings(operation_s=0.0, poll_ms=10, run_phase_s=0.0)
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def azurite_script(root: Path, open_environment: dict[str, str]) -> Path:
    """Azurite, installed once for this checkout."""
    return install_azurite(root / ".cache", open_environment)


@pytest.fixture(scope="session")
def emulator(azurite_script: Path) -> Iterator[Emulator]:
    """The running emulator."""
    with Emulator(azurite=azurite_script, settings=SETTINGS, python=sys.executable) as running:
        yield running


@dataclass(frozen=True)
class Client:
    """Speaks HTTP with one workspace.

    Attributes:
        http: behind the emulator's proxy.
        workspace: path of the workspace in Azure Resource Manager.
    """

    http: httpx.Client
    workspace: str

    def arm(self, method: str, path: str = "", body: Any = None) -> httpx.Response:
        """Ask the control plane about something in the workspace."""
        return self.http.request(method, f"{ARM}{self.workspace}{path}", params=VERSION, json=body)

    def data(self, method: str, prefix: str, path: str, body: Any = None) -> httpx.Response:
        """Ask the data plane."""
        return self.http.request(method, f"{DATA}{prefix}{self.workspace}{path}", json=body)


def connect(emulator: Emulator, **headers: str) -> httpx.Client:
    """Make a client behind the emulator's proxy."""
    context = ssl.create_default_context(cafile=str(emulator.certificates.authority))
    return httpx.Client(proxy=emulator.url, verify=context, headers=headers, timeout=60, trust_env=False)


@pytest.fixture
def client(emulator: Emulator) -> Iterator[Client]:
    """A client of an empty workspace, with a token."""
    token = emulator.cloud.tokens.issue(audience=ARM, tenant="t", client="tester")
    path = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces"
    with connect(emulator, Authorization=f"Bearer {token}") as http:
        yield Client(http, f"{path}/workspace-{next(_NUMBERS)}")


@pytest.fixture(autouse=True)
def no_faults_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test leaves faults or settings to the next."""
    yield
    if "emulator" in request.fixturenames:
        emulator: Emulator = request.getfixturevalue("emulator")
        emulator.cloud.faults.remove()
        emulator.cloud.settings = SETTINGS
        emulator.cloud.change_settings()
