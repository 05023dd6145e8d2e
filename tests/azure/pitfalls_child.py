"""Run by `pitfalls_test.py` in a process of its own: what it tries is decided once per process."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from llmops.backends.azure.arm import Arm
from llmops.backends.azure.session import open_session
from llmops.backends.protocols import DeploymentRequest
from llmops.backends.registry import open_delivery
from llmops.config.model import Azure, AzureCloud, AzureRetries, Environment
from llmops.errors import UsageError
from tests.backends.packages import echo_flow, package

FAST = AzureRetries(attempts=3, first_wait_s=0.01, longest_wait_s=0.05, busy_s=20.0)


def environment(port: str, cloud: AzureCloud | None = None, name: str = "", registry: str = "") -> Environment:
    """Name a workspace of the emulator."""
    azure = Azure(
        subscription_id="s",
        resource_group="g",
        workspace=f"child-{os.getpid()}{name}",
        registry=registry,
        credentials=("environment",),
        retries=FAST,
        cloud=cloud or AzureCloud(),
    )
    del port
    return Environment(name="dev", backend="azure", azure=azure)


def own(port: str) -> AzureCloud:
    """Describe the emulator as a cloud."""
    base = f"https://127.0.0.1:{port}"
    return AzureCloud(
        name="Private",
        azure_portal=base,
        resource_manager=base,
        active_directory=base,
        aml_resource_id=base,
        storage_endpoint="core.windows.net",
        registry_discovery_endpoint=base,
    )


def two_clouds(port: str) -> dict[str, object]:
    """Open two clouds in one process."""
    state = Path("state")
    assert open_session(environment(port), state, dict(os.environ)).ml
    try:
        assert open_session(environment(port, own(port)), state, dict(os.environ)).ml
    except UsageError as error:
        return {"error": str(error)}
    return {"error": ""}


def own_cloud(port: str, registry: str = "") -> dict[str, object]:
    """Register, fetch, deploy and ask in a cloud of one's own."""
    folder = Path.cwd()
    manifest = package(echo_flow(folder / "one", "one "), folder / "package")
    with open_delivery(
        environment(port, own(port), registry=registry), folder / "state", dict(os.environ), print
    ) as delivery:
        model = delivery.registry.register(folder / "package", name="echo", digest=manifest.digest, created_by="child")
        fetched = delivery.registry.fetch(model)
        name = f"own-{os.getpid()}"
        delivery.endpoints.ensure_endpoint(name, tags={})
        delivery.endpoints.create_deployment(name, DeploymentRequest(name="first", model=model, package=fetched))
        status = "creating"
        while status == "creating":
            time.sleep(0.1)
            observed = delivery.endpoints.observe(name)
            status = observed.deployments["first"].status if observed else "gone"
        answer = delivery.endpoints.score(name, {"question": "hi"}, deployment="first")
        versions = [one.version for one in delivery.registry.list_models()]
    found = (answer.outputs or {}).get("answer", answer.text)
    return {"versions": versions, "fetched": fetched.is_dir(), "deployed": status, "answer": found}


def telemetry(port: str) -> dict[str, object]:
    """Use prompt flow's client."""
    session = open_session(environment(port), Path("state"), dict(os.environ))
    return {"runs": len(session.call("list the runs", session.pf.runs.list))}


def no_tls(port: str) -> dict[str, object]:
    """Ask an address that has no TLS."""
    cloud = own(port)
    plain = replace(cloud, resource_manager=cloud.resource_manager.replace("https", "http"))
    arm = Arm(open_session(environment(port, plain), Path("state"), dict(os.environ)))
    try:
        arm.get(arm.path("models/m"), version="2023-08-01-preview", what="read the model 'm'")
    except UsageError as error:
        return {"error": str(error)}
    return {"error": ""}


def own_registry(port: str) -> dict[str, object]:
    """Do the same with a registry."""
    return own_cloud(port, f"child-{os.getpid()}")


TASKS = {
    "no-tls": no_tls,
    "two-clouds": two_clouds,
    "own-cloud": own_cloud,
    "own-registry": own_registry,
    "telemetry": telemetry,
}

if __name__ == "__main__":
    print(json.dumps(TASKS[sys.argv[1]](sys.argv[2])))  # noqa: T201
