"""What an environment says of endpoints and deployments is what Azure is told, and stays so."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmops.backends.registry import Delivery, open_delivery
from llmops.emulator.emulator import Emulator
from tests.azure.conftest import GROUP, SUBSCRIPTION, Requests, environment, unique
from tests.azure.echo import deploy_echo

IDENTITY = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.ManagedIdentity"
    "/userAssignedIdentities/mine"
)
Open = Callable[..., Delivery]


@pytest.fixture
def opened(emulator: Emulator, tmp_path: Path) -> Iterator[Open]:
    """Opens a workspace with the settings that are given."""
    with ExitStack() as stack:

        def open_it(**serving: Any) -> Delivery:
            found = replace(environment("settings"), serving=serving)
            return stack.enter_context(open_delivery(found, tmp_path / ".llmops", emulator.environment(), print))

        yield open_it


def sent(requests: Requests, part: str) -> dict[str, Any]:
    """Return what was last put at a path."""
    return dict(json.loads(requests.all("PUT", part)[-1].body))


def test_an_endpoint_has_an_identity_of_its_own(opened: Open, requests: Requests) -> None:
    opened().endpoints.ensure_endpoint(name := unique("own"), tags={})
    body = sent(requests, name)
    assert body["identity"] == {"type": "SystemAssigned"}
    assert (body["properties"]["authMode"], body["properties"]["publicNetworkAccess"]) == ("Key", "Enabled")
    assert body["properties"]["properties"] == {"enforce_access_to_default_secret_stores": "enabled"}


def test_identities_that_are_given_stay_when_traffic_moves(opened: Open, requests: Requests) -> None:
    delivery, name = opened(identities=[IDENTITY], public_network_access=False), unique("given")
    delivery.endpoints.ensure_endpoint(name, tags={})
    first = sent(requests, name)
    delivery.endpoints.update_endpoint(name, tags={"step": "1"})
    assert first["identity"] == {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}}
    assert first["properties"]["publicNetworkAccess"] == "Disabled"
    assert sent(requests, name)["identity"] == first["identity"]


def test_an_endpoint_that_takes_tokens_is_asked_with_one_that_is_fresh(
    opened: Open, tmp_path: Path, settings: Callable[..., None], requests: Requests
) -> None:
    delivery = opened(auth_mode="aad_token")
    name = deploy_echo(delivery, tmp_path)
    while delivery.endpoints.observe(name).deployments["first"].status == "creating":  # type: ignore[union-attr]
        time.sleep(0.1)
    settings(token_s=2)
    answers = []
    for _ in range(2):
        answers.append(delivery.endpoints.score(name, {"question": "hi"}, deployment="first").status)
        time.sleep(2.1)
    assert answers == [200, 200]
    assert requests.all("POST", "listKeys") == []


def test_a_deployment_is_told_all_that_is_set(opened: Open, tmp_path: Path, requests: Requests) -> None:
    name = deploy_echo(opened(), tmp_path, start_timeout_s=45, max_queue_wait_s=2, instance_type="Standard_F4s_v2")
    properties = sent(requests, f"{name}/deployments/first")["properties"]
    assert properties["livenessProbe"] == properties["readinessProbe"] == {"initialDelay": "PT45S"}
    assert properties["requestSettings"]["maxQueueWait"] == "PT2S"
    assert (properties["instanceType"], properties["appInsightsEnabled"]) == ("Standard_F4s_v2", True)
    assert "dataCollector" not in properties


def test_requests_and_answers_are_collected_as_asked(opened: Open, tmp_path: Path, requests: Requests) -> None:
    name = deploy_echo(opened(), tmp_path, data_collector={"sampling_rate": 0.1, "collections": ["model_outputs"]})
    collector = sent(requests, f"{name}/deployments/first")["properties"]["dataCollector"]
    assert collector["collections"] == {"model_outputs": {"dataCollectionMode": "Enabled", "samplingRate": 0.1}}


def test_an_image_of_ones_own_is_what_serves(opened: Open, tmp_path: Path, requests: Requests) -> None:
    deploy_echo(opened(), tmp_path, image="registry.example/flows:1")
    body = sent(requests, "/environments/llmops-promptflow")["properties"]
    assert body["image"] == "registry.example/flows:1"
    assert body["inferenceConfig"]["scoringRoute"] == {"path": "/score", "port": 8080}
