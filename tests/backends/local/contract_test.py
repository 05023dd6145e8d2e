"""The local backend keeps the contract, with real processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from llmops.backends.local.endpoints import LocalEndpoints
from llmops.backends.local.registry import LocalRegistry
from llmops.config.model import Environment
from llmops.errors import LlmopsError
from tests.backends.contract import Contract, Stage


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("local")
    endpoints = LocalEndpoints(folder / ".llmops" / "endpoints", Environment(name="dev"), {})
    registry = LocalRegistry(folder / ".llmops" / "registry")
    yield Stage(registry=registry, endpoints=endpoints, folder=folder)
    for name in endpoints.list_endpoints():
        with contextlib.suppress(LlmopsError):
            endpoints.stop(name)


class TestLocal(Contract):
    """The contract, with real processes."""
