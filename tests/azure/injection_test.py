"""Plain Python flows that serve on Azure get what they refer to of connections, and no key is in what we send."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmops.backends.registry import Delivery, open_delivery
from llmops.config.connections import resolve_connections
from llmops.config.model import Connection
from llmops.emulator.emulator import Emulator
from tests.azure.conftest import Requests, environment, unique
from tests.azure.echo import deploy_package, made
from tests.backends.packages import package

SHOW = """\
import os

def show(name: str):
    return {"value": os.environ[name]}
"""
CONNECTIONS: dict[str, Any] = {
    "model": {"type": "open_ai", "configs": {"base_url": "http://models.example/v1"}, "secrets": {"api_key": "K1"}},
    "azure": {
        "type": "azure_open_ai",
        "configs": {"api_base": "https://models.example", "api_version": "2024-10-21"},
        "secrets": {"api_key": "K2"},
    },
    "own": {"type": "custom", "configs": {"region": "north"}, "secrets": {"token": "K3", "api_key": "K4"}},
}
REFERENCES = {
    "URL": ("${model.base_url}", "http://models.example/v1"),
    "KEY": ("${model.api_key}", "K1"),
    "BASE": ("${azure.api_base}", "https://models.example"),
    "VERSION": ("${azure.api_version}", "2024-10-21"),
    "REGION": ("${own.region}", "north"),
    "TOKEN": ("${own.token}", "K3"),
    "OWN_KEY": ("${own.api_key}", "K4"),
    "PLAIN": ("costs ${5}", "costs ${5}"),
    "STRANGE": ("${nobody.key}", "${nobody.key}"),
}


@pytest.fixture
def delivery(emulator: Emulator, settings: Callable[..., None], tmp_path: Path) -> Iterator[Delivery]:
    settings(connections=CONNECTIONS)
    found = replace(environment(unique("injection")), serving={"max_queue_wait_s": 30})
    with open_delivery(found, tmp_path / ".llmops", emulator.environment(), print) as opened:
        yield opened


def deploy(delivery: Delivery, root: Path, variables: dict[str, str]) -> str:
    """Deploy the function that shows its variables; return the endpoint's name."""
    folder = root / "flows" / "show"
    folder.mkdir(parents=True)
    (folder / "main.py").write_text(SHOW)
    manifest = package(folder, root / "package", model="show", source="flows/show/main.py:show")
    connections = resolve_connections({one: Connection(type="workspace") for one in CONNECTIONS}, {})
    return deploy_package(
        delivery, root / "package", manifest, environment_variables=variables, connections=connections
    )


def test_a_function_gets_what_it_refers_to(delivery: Delivery, tmp_path: Path, requests: Requests) -> None:
    name = deploy(delivery, tmp_path, {one: reference for one, (reference, _) in REFERENCES.items()})
    made(delivery, name)
    for variable, (_, value) in REFERENCES.items():
        answer = delivery.endpoints.score(name, {"name": variable}, deployment="first")
        assert (answer.status, answer.outputs) == (200, {"value": value})
    (sent,) = [json.loads(one.body) for one in requests.all("PUT", f"{name}/deployments/first")]
    variables = sent["properties"]["environmentVariables"]
    assert variables["KEY"] == "${{azureml://connections/model/credentials/key}}"
    assert variables["REGION"] == "${{azureml://connections/own/metadata/region}}"
    assert not {"K1", "K2", "K3", "K4"} & set(variables.values())


def test_a_reference_to_what_a_connection_lacks_ends_in_a_failure_that_names_it(
    delivery: Delivery, tmp_path: Path
) -> None:
    found = made(delivery, deploy(delivery, tmp_path, {"TOKEN": "${own.nothing}"}))
    assert (found.status, "own/credentials/nothing" in found.message) == ("failed", True)
