"""Registries: `azure-ai-ml` with `registry_name` against the emulator."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import requests as http
from azure.ai.ml import MLClient
from azure.ai.ml.entities import Data, Model
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential

from tests.azure.conftest import FLOWS, Requests, deployment, make_endpoint, set_traffic, unique


@pytest.fixture
def shared(credential: DefaultAzureCredential) -> MLClient:
    """A client of an empty registry."""
    return MLClient(credential, registry_name=unique("registry"), show_progress=False)


def register(shared: MLClient, flow: str = "shout", version: str | None = None) -> Model:
    return shared.models.create_or_update(
        Model(name="shouter", version=version, path=str(FLOWS / flow), type="custom_model")
    )


def test_a_model_is_created_listed_found_and_downloaded(shared: MLClient, tmp_path: Path) -> None:
    made = register(shared)
    registry = shared._operation_scope.registry_name
    assert (made.version, made.id) == ("1", f"azureml://registries/{registry}/models/shouter/versions/1")
    assert [(one.name, one.latest_version) for one in shared.models.list()] == [("shouter", "1")]
    assert [one.version for one in shared.models.list("shouter")] == ["1"]
    assert shared.models.get("shouter", label="latest").path == made.path
    shared.models.download("shouter", version="1", download_path=tmp_path)
    assert {path.name for path in tmp_path.rglob("*.*")} == {path.name for path in (FLOWS / "shout").iterdir()}


def test_a_version_keeps_its_path_and_takes_new_tags(shared: MLClient) -> None:
    model = register(shared)
    model.tags = {"verdict": "pass"}
    shared.models.create_or_update(model)
    assert shared.models.get("shouter", version="1").tags == {"verdict": "pass"}


def test_data_is_kept_beside_the_models(shared: MLClient, rows: Path) -> None:
    made = shared.data.create_or_update(Data(name="rows", version="a1", path=str(rows), type="uri_file"))
    found = shared.data.get("rows", version="a1")
    assert (found.path, [one.version for one in shared.data.list("rows")]) == (made.path, ["a1"])
    assert found.path.endswith("/rows.jsonl")


def test_a_deployment_of_a_workspace_serves_a_model_of_a_registry(shared: MLClient, ml: MLClient) -> None:
    name, model = make_endpoint(ml), register(shared)
    ml.online_deployments.begin_create_or_update(deployment(name, model=model.id)).result()
    set_traffic(ml, name, blue=100)
    keys, uri = ml.online_endpoints.get_keys(name), ml.online_endpoints.get(name).scoring_uri
    headers = {"Authorization": f"Bearer {keys.primary_key}"}
    answer = http.post(uri, json={"text": "hi"}, headers=headers, verify=os.environ["SSL_CERT_FILE"], timeout=60)
    assert answer.json() == {"loud": "HI"}
    ml.online_endpoints.begin_delete(name).result()


def test_a_model_that_does_not_exist_is_refused_by_the_deployment(ml: MLClient, shared: MLClient) -> None:
    name, registry = make_endpoint(ml), shared._operation_scope.registry_name
    missing = deployment(name, model=f"azureml://registries/{registry}/models/shouter/versions/1")
    with pytest.raises(HttpResponseError, match="does not exist"):
        ml.online_deployments.begin_create_or_update(missing)
    ml.online_endpoints.begin_delete(name).result()


def test_a_registry_that_does_not_exist_is_not_found(
    credential: DefaultAzureCredential, settings: Callable[..., None]
) -> None:
    settings(registries=("other",))
    with pytest.raises(ResourceNotFoundError):
        MLClient(credential, registry_name=unique("registry"), show_progress=False)


def test_an_operation_that_fails_leaves_no_version(shared: MLClient, inject: Callable[..., None]) -> None:
    inject(effect="fail_operation", method="PUT", path="/registries/.*/models/", code="Nope", message="not today")
    with pytest.raises(HttpResponseError, match="not today"):
        register(shared)
    with pytest.raises(ResourceNotFoundError):
        shared.models.get("shouter", version="1")


def test_each_upload_goes_to_a_container_of_its_own(shared: MLClient, requests: Requests) -> None:
    """The SDK names no reference, so that nothing is shared between two uploads of one content."""
    first, second = register(shared), register(shared)
    assert (first.version, second.version) == ("1", "2")
    assert first.path != second.path
    assert len(requests.all("PUT", "/shout.py")) == 2
