"""Endpoints that really serve; every process that a test starts ends with it, however the test ends."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llmops.backends.local.endpoints import LocalEndpoints
from llmops.backends.local.registry import LocalRegistry
from llmops.backends.protocols import DeploymentRequest
from llmops.config.connections import resolve_connections
from llmops.config.model import Connection, Environment
from llmops.errors import LlmopsError
from llmops.releases import ModelRecord
from tests.backends.packages import echo_flow, package, plain_flow

NAME = "tiny"
DEADLINE_S = 60.0


@dataclass
class Place:
    """A project's `.llmops/` with one endpoint, and short ways to do things with it."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)
    connections: dict[str, Connection] = field(default_factory=dict)

    @property
    def environment(self) -> Environment:
        return Environment(name="dev", connections=self.connections)

    @property
    def registry(self) -> LocalRegistry:
        return LocalRegistry(self.root / ".llmops" / "registry")

    @property
    def endpoints(self) -> LocalEndpoints:
        """As a new driver sees them."""
        return LocalEndpoints(self.root / ".llmops" / "endpoints", self.environment, self.env)

    def register(self, flow: Path, *, source: str = "", **overlay: Any) -> ModelRecord:
        into = self.root / "packages" / str(len(list(self.root.glob("packages/*"))))
        manifest = package(flow, into, source=source, **overlay)
        return self.registry.register(into, name="echo", digest=manifest.digest, created_by="a test")

    def deploy(self, name: str, model: ModelRecord, *, capture_percent: int = 0, **settings: Any) -> None:
        connections = resolve_connections(self.connections, self.env)
        request = DeploymentRequest(
            name=name,
            model=model,
            package=self.registry.fetch(model),
            connections=connections,
            settings=settings,
            capture_percent=capture_percent,
        )
        self.endpoints.ensure_endpoint(NAME, tags={})
        self.endpoints.create_deployment(NAME, request)

    def deploy_echo(self, name: str, version: str = "one ", **settings: Any) -> None:
        """Deploy a flow that answers with its version and the question, and wait until it is healthy."""
        self.deploy(name, self.register(echo_flow(self.root / version.strip(), version)), **settings)
        self.wait_until(name, "healthy")

    def deploy_plain(self, name: str, version: str = "one ", **settings: Any) -> None:
        """As `deploy_echo`, without prompt flow."""
        model = self.register(plain_flow(self.root / version.strip(), version), source="flows/plain/main.py:answer")
        self.deploy(name, model, **settings)
        self.wait_until(name, "healthy")

    def status(self, name: str) -> str:
        observed = self.endpoints.observe(NAME)
        assert observed is not None
        return observed.deployments[name].status

    def wait_until(self, name: str, status: str) -> None:
        wait_for(lambda: self.status(name) == status)

    def ask(self, question: str, deployment: str | None = None) -> Mapping[str, Any]:
        answer = self.endpoints.score(NAME, {"question": question}, deployment=deployment)
        return {"status": answer.status, "deployment": answer.deployment, **(answer.outputs or {})}


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so; fail when it does not come about."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A place to deploy to; what serves there ends with the test."""
    made = Place(tmp_path)
    yield made
    for name in made.endpoints.list_endpoints():
        with contextlib.suppress(LlmopsError):
            made.endpoints.stop(name)
