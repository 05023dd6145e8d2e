"""Registries of the emulator, as plain HTTP shows them."""

from __future__ import annotations

import httpx
import pytest

from llmops.emulator.emulator import Emulator
from llmops.emulator.faults import permission_of
from tests.emulator.conftest import DATA, Client
from tests.projects import wait_for

ASSETS = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/registries/r"


class Registry:
    """One registry as a client finds it."""

    def __init__(self, http: httpx.Client, name: str) -> None:
        self.http, self.name = http, name
        found = http.get(f"{DATA}/registrymanagement/v1.0/registries/{name}/discovery").json()
        scope = f"subscriptions/{found['subscriptionId']}/resourceGroups/{found['resourceGroup']}/providers"
        base = f"{found['primaryRegionResourceProviderUri']}mferp/managementfrontend"
        self.base = f"{base}/{scope}/Microsoft.MachineLearningServices/registries/{name}"

    def upload(self, reference: str | None = None) -> httpx.Response:
        """Ask where to put the files of the model `m`."""
        asset = f"azureml://registries/{self.name}/models/m/versions/1"
        body = {"assetId": asset, "temporaryDataReferenceId": reference}
        return self.http.put(f"{self.base}/tempdatarefs/m/versions/1", json=body)

    def place(self, reference: str | None = None) -> str:
        """Name the container of an upload."""
        uri: str = self.upload(reference).json()["blobReferenceForConsumption"]["blobUri"]
        return uri

    def begin(self, uri: str) -> httpx.Response:
        """Register the model."""
        body = {"properties": {"modelType": "custom_model", "modelUri": f"{uri}/files"}}
        return self.http.put(f"{self.base}/models/m/versions/1", json=body)

    def wait(self, begun: httpx.Response) -> httpx.Response:
        """Wait for the end of an operation."""
        wait_for(lambda: self.http.get(begun.headers["Location"]).status_code != 202)
        return self.http.get(begun.headers["Location"])

    def put(self, uri: str) -> httpx.Response:
        """Register the model, and wait until that has ended."""
        begun = self.begin(uri)
        return self.wait(begun) if begun.status_code == 202 else begun


@pytest.fixture
def registry(client: Client) -> Registry:
    return Registry(client.http, f"registry-{client.workspace.rpartition('-')[2]}")


def test_a_registry_is_served_where_discovery_says(registry: Registry) -> None:
    assert registry.base.startswith("https://cert-eastus.experiments.azureml.net/mferp/managementfrontend/")
    assert registry.http.get(f"{registry.base}/models").json() == {"value": []}


def test_only_named_registries_exist(registry: Registry, emulator: Emulator) -> None:
    emulator.cloud.change_settings(registries=(registry.name,))
    path = f"{DATA}/registrymanagement/v1.0/registries"
    answers = [registry.http.get(f"{path}/{name}/discovery").status_code for name in (registry.name, "other")]
    assert answers == [200, 404]


def test_a_registry_is_nowhere_else(registry: Registry) -> None:
    assert registry.http.get(f"{registry.base.replace('Groups/registries', 'Groups/g')}/models").status_code == 404


def test_the_same_reference_is_the_same_container_and_without_one_each_has_its_own(registry: Registry) -> None:
    named, others = [registry.place("a") for _ in range(2)], {registry.place() for _ in range(2)}
    assert (len(set(named)), len(others), others & set(named)) == (1, 2, set())


def test_references_can_be_forgotten(registry: Registry, emulator: Emulator) -> None:
    emulator.cloud.change_settings(new_upload_places=True)
    assert len({registry.place("a") for _ in range(2)}) == 2


def test_a_version_that_exists_takes_no_upload_and_no_other_path(registry: Registry) -> None:
    uri = registry.place()
    assert registry.put(uri).status_code == 204
    assert (registry.upload().status_code, registry.put(f"{uri}-other").status_code) == (409, 400)
    assert registry.put(uri).status_code == 204


def test_a_version_is_seen_when_its_operation_has_ended_and_of_two_that_race_one_fails(
    registry: Registry, emulator: Emulator
) -> None:
    emulator.cloud.change_settings(operation_s=0.5)
    begun = [registry.begin(registry.place()) for _ in range(2)]
    assert [one.status_code for one in begun] == [202, 202]
    assert registry.http.get(f"{registry.base}/models/m/versions/1").status_code == 404
    ended = [registry.wait(one) for one in begun]
    assert sorted(one.status_code for one in ended) == [204, 400]
    assert registry.http.get(f"{registry.base}/models/m/versions/1").status_code == 200


def test_what_is_signed_for_reading_cannot_be_written(registry: Registry) -> None:
    uri = registry.place()
    registry.put(uri)
    asked = {"assetId": f"azureml://registries/{registry.name}/models/m/versions/1", "blobUri": f"{uri}/files"}
    signed = registry.http.post(f"{registry.base}/datarefs/m/versions/1", json=asked).json()
    place, _, signature = signed["blobReferenceForConsumption"]["credential"]["sasUri"].partition("?")
    plain = {"Authorization": "", "x-ms-blob-type": "BlockBlob"}
    assert registry.http.get(f"{place}?restype=container&comp=list&{signature}", headers=plain).status_code == 200
    assert registry.http.put(f"{place}/files/new?{signature}", headers=plain, content=b"x").status_code == 403


@pytest.mark.parametrize(
    ("method", "path", "action"),
    [
        ("GET", "models/m/versions", "assets/read"),
        ("PUT", "models/m/versions/1", "assets/write"),
        ("DELETE", "data/d/versions/1", "assets/delete"),
        ("PUT", "tempdatarefs/m/versions/1", "assets/write"),
        ("POST", "datarefs/m/versions/1", "assets/read"),
        ("GET", "", "read"),
    ],
)
def test_requests_to_a_registry_need_the_actions_of_its_assets(method: str, path: str, action: str) -> None:
    wanted = f"Microsoft.MachineLearningServices/registries/{action}"
    assert permission_of(method, f"/mferp/managementfrontend{ASSETS}/{path}") == wanted
