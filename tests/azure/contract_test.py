"""The Azure backend keeps the contract of all backends, over the emulator, with deployments that really serve."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llmops.backends.registry import open_delivery
from llmops.emulator.emulator import Emulator
from tests.azure.conftest import environment
from tests.backends.contract import Contract, Stage


@pytest.fixture(scope="module")
def stage(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("azure")
    with open_delivery(environment("contract"), folder / ".llmops", emulator.environment(), print) as delivery:
        yield Stage(registry=delivery.registry, endpoints=delivery.endpoints, folder=folder)


class TestAzure(Contract):
    """The contract, over the emulator."""
