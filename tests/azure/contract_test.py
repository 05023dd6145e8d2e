"""The Azure backend keeps the contract of all backends, over the emulator, with deployments that really serve."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from llmops.backends.registry import open_delivery
from llmops.emulator.emulator import Emulator
from tests.azure.conftest import environment, unique
from tests.backends.contract import Contract, RegistryContract, Stage


@pytest.fixture(scope="module")
def stage(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("azure")
    with open_delivery(environment("contract"), folder / ".llmops", emulator.environment(), print) as delivery:
        opened = Stage(registry=delivery.registry, endpoints=delivery.endpoints, folder=folder)
        opened.served()  # here, because what is made in a test goes with it
        yield opened


class TestAzure(Contract):
    """The contract, over the emulator."""


class TestRegistry(RegistryContract):
    """The contract of registries, with a registry of Azure's that keeps to the place that an upload names."""

    @pytest.fixture(scope="class")
    @classmethod
    def stage(cls, emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
        folder, found = tmp_path_factory.mktemp("registry"), environment("contract", registry=unique("contract"))
        with open_delivery(found, folder / ".llmops", emulator.environment(), print) as delivery:
            yield Stage(registry=delivery.registry, endpoints=delivery.endpoints, folder=folder)


class TestForgetfulRegistry(TestRegistry):
    """The same with a registry that gives every upload a place of its own."""

    @pytest.fixture(autouse=True)
    def forgetful(self, settings: Callable[..., None]) -> None:
        settings(new_upload_places=True)
