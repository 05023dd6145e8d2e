"""A flow that answers what it was asked, deployed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from llmops.backends.protocols import DeploymentRequest
from llmops.backends.registry import Delivery
from llmops.core.endpoint import Deployment
from llmops.releases import Manifest
from tests.azure.conftest import unique
from tests.backends.packages import echo_flow, package


def deploy_echo(delivery: Delivery, folder: Path, **settings: Any) -> str:
    """Deploy the flow as `first` to a new endpoint, without waiting for it; return the endpoint's name."""
    manifest = package(echo_flow(folder), folder / "package")
    return deploy_package(delivery, folder / "package", manifest, settings=settings)


def deploy_package(delivery: Delivery, package: Path, manifest: Manifest, **request: Any) -> str:
    """Register a package and deploy it as `first` to a new endpoint, without waiting; return the endpoint's name."""
    registered = delivery.registry.register(package, name=manifest.model, digest=manifest.digest, created_by="a test")
    name = unique(manifest.model)
    delivery.endpoints.ensure_endpoint(name, tags={})
    asked = DeploymentRequest(name="first", model=registered, package=package, **request)
    delivery.endpoints.create_deployment(name, asked)
    return name


def made(delivery: Delivery, endpoint: str) -> Deployment:
    """Wait until the deployment `first` is made, well or not, and return it."""
    while (found := delivery.endpoints.observe(endpoint)) and found.deployments["first"].status == "creating":
        time.sleep(0.1)
    assert found
    return found.deployments["first"]
