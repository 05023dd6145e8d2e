"""Models, data, connections: `azure-ai-ml` against the emulator."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from azure.ai.ml import MLClient
from azure.ai.ml._artifacts._constants import ASSET_PATH_ERROR
from azure.ai.ml.entities import ApiKeyConfiguration, AzureOpenAIConnection, Data, Model
from azure.ai.ml.exceptions import AssetPathException, ValidationException
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError

from llmops.emulator.emulator import Emulator
from tests.azure.conftest import FLOWS, Requests, register


def test_a_workspace_is_described(ml: MLClient) -> None:
    found = ml.workspaces.get(ml.workspace_name)
    assert (found.name, found.location) == (ml.workspace_name, "eastus")
    assert found.discovery_url == "https://eastus.api.azureml.ms/discovery"


def test_a_workspace_that_does_not_exist_is_not_found(ml: MLClient, settings: Callable[..., None]) -> None:
    settings(workspaces=("other",))
    with pytest.raises(ResourceNotFoundError) as error:
        ml.workspaces.get(ml.workspace_name)
    assert error.value.error.code == "ResourceNotFound"


def test_data_is_uploaded_and_found_by_version_and_label(ml: MLClient, rows: Path, emulator: Emulator) -> None:
    made = ml.data.create_or_update(Data(name="rows", path=str(rows), type="uri_file"))
    found = ml.data.get("rows", label="latest")
    assert (made.version, found.version, found.path) == ("1", "1", made.path)
    blob = made.path.split("/paths/")[1]
    container = ml.datastores.get_default().container_name
    assert emulator.cloud.blobs.read(container, blob) == rows.read_bytes()


def test_a_connection_is_created_listed_and_read_with_its_key(ml: MLClient) -> None:
    wanted = AzureOpenAIConnection(
        name="model", azure_endpoint="https://model.invalid", credentials=ApiKeyConfiguration(key="k"), api_version="v"
    )
    ml.connections.create_or_update(wanted)
    (listed,) = ml.connections.list()
    found = ml.connections.get("model", populate_secrets=True)
    assert (listed.name, listed.credentials.key) == ("model", None)
    assert (found.azure_endpoint, found.api_version, found.credentials.key) == ("https://model.invalid", "v", "k")


def test_a_model_is_found_by_version_label_and_list(ml: MLClient) -> None:
    register(ml)
    assert ml.models.get("shouter", version="1").version == "1"
    assert ml.models.get("shouter", label="latest").version == "1"
    assert [model.version for model in ml.models.list("shouter")] == ["1"]


def test_the_latest_model_is_the_last_created_and_the_latest_data_too(ml: MLClient, rows: Path) -> None:
    """Not the highest number, so that nothing may compute the latest version by itself."""
    for version in ("5", "3"):
        ml.models.create_or_update(Model(name="m", version=version, path=str(FLOWS / "shout"), type="custom_model"))
        ml.data.create_or_update(Data(name="d", version=version, path=str(rows), type="uri_file"))
    assert ml.models.get("m", label="latest").version == "3"
    assert ml.data.get("d", label="latest").version == "3"


def test_the_same_model_registered_twice_becomes_two_versions_with_one_upload(ml: MLClient, requests: Requests) -> None:
    first, second = register(ml), register(ml)
    assert (first.version, second.version) == ("1", "2")
    assert first.path == second.path
    uploads = [entry for entry in requests.all("PUT", "/shout.py") if entry.service == "blobs"]
    assert len(uploads) == 1


def test_stray_files_are_uploaded_with_a_model_and_change_its_path(ml: MLClient, tmp_path: Path) -> None:
    folder = shutil.copytree(FLOWS / "shout", tmp_path / "shout")
    clean = ml.models.create_or_update(Model(name="m", path=str(folder), type="custom_model"))
    (folder / ".env").write_text("SECRET=1\n")
    stray = ml.models.create_or_update(Model(name="m", path=str(folder), type="custom_model"))
    ml.models.download("m", version=stray.version, download_path=tmp_path / "back")
    assert clean.path != stray.path
    assert [path.name for path in (tmp_path / "back").rglob(".env")] == [".env"]


def test_a_lost_blob_is_not_uploaded_again(ml: MLClient, emulator: Emulator) -> None:
    """The SDK looks at one blob of a folder alone; what is registered then is not what was there."""
    path = register(ml).path.split("/paths/")[1]
    container = ml.datastores.get_default().container_name
    emulator.cloud.blobs.delete(container, f"{path}/shout.py")
    again = register(ml)
    assert again.path.endswith(path)
    assert [name.rpartition("/")[2] for name in emulator.cloud.blobs.names(container, path)] == ["flow.dag.yaml"]


@pytest.mark.parametrize(("status", "raised"), [(400, HttpResponseError), (409, ResourceExistsError)])
def test_a_version_keeps_its_path(
    ml: MLClient, settings: Callable[..., None], status: int, raised: type[Exception]
) -> None:
    """The SDK's own class for this is never raised: it compares the message with a text that no longer occurs."""
    register(ml)
    settings(changed_path_status=status)
    with pytest.raises(raised) as error:
        ml.models.create_or_update(Model(name="shouter", version="1", path=str(FLOWS / "match"), type="custom_model"))
    assert not isinstance(error.value, AssetPathException)
    assert str(error.value) != ASSET_PATH_ERROR
    assert ASSET_PATH_ERROR in str(error.value)


def test_a_version_put_again_takes_new_tags(ml: MLClient) -> None:
    model = register(ml)
    model.tags = {"verdict": "pass"}
    ml.models.create_or_update(model)
    assert ml.models.get("shouter", version="1").tags == {"verdict": "pass"}


@pytest.mark.parametrize(("lists", "raised"), [(False, ResourceNotFoundError), (True, ValidationException)])
def test_an_unknown_model_is_told_in_two_ways(
    ml: MLClient, settings: Callable[..., None], *, lists: bool, raised: type[Exception]
) -> None:
    settings(lists_unknown_models=lists)
    with pytest.raises(raised):
        ml.models.get("nobody", label="latest")


def test_an_upload_fails_when_the_datastore_gives_its_key(ml: MLClient, settings: Callable[..., None]) -> None:
    settings(secrets_type="AccountKey")
    with pytest.raises(AttributeError, match="sas_token"):
        register(ml)


def test_without_credentials_of_the_datastore_the_callers_own_are_used(
    ml: MLClient, settings: Callable[..., None], requests: Requests
) -> None:
    settings(datastore_credentials="None")
    assert register(ml).version == "1"
    assert requests.all("POST", "/listSecrets") == []
    assert {entry.caller for entry in requests.all("PUT", "/shout.py")} == {"00000000-0000-0000-0000-000000000002"}


def test_a_missing_role_for_secrets_is_hidden_by_the_sdk(
    ml: MLClient, inject: Callable[..., None], requests: Requests
) -> None:
    inject(effect="deny", permission="*/datastores/listSecrets/action", count=None)
    assert register(ml).version == "1"
    assert set(requests.statuses("POST", "/listSecrets")) == {403}
    assert {entry.caller for entry in requests.all("PUT", "/shout.py")} == {"00000000-0000-0000-0000-000000000002"}


def test_a_deleted_version_cannot_be_made_again(ml: MLClient) -> None:
    register(ml)
    ml.models._model_versions_operation.delete(  # the public client has no deletion of models
        name="shouter", version="1", resource_group_name=ml.resource_group_name, workspace_name=ml.workspace_name
    )
    with pytest.raises(ResourceExistsError, match="cannot be recreated"):
        ml.models.create_or_update(Model(name="shouter", version="1", path=str(FLOWS / "shout"), type="custom_model"))
