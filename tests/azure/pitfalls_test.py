"""What bites with the SDKs (contract, section 7 and boxes), beside what this backend does about it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from azure.ai.ml import MLClient
from azure.ai.ml.entities import ManagedOnlineEndpoint, Model
from azure.core.exceptions import HttpResponseError

from llmops.backends.azure.arm import Arm
from llmops.backends.azure.blobs import Blobs
from llmops.backends.azure.endpoints import AzureEndpoints
from llmops.backends.azure.registry import AzureRegistry
from llmops.backends.azure.session import AzureSession
from llmops.backends.azure.settings import read_settings
from llmops.backends.azure.workspace_place import WorkspacePlace, blob_path
from llmops.backends.protocols import DeploymentRequest
from llmops.delivery.package import verify_package
from llmops.emulator.azurite_process import install_azurite
from llmops.emulator.emulator import Emulator
from llmops.errors import BackendError, DeadlineError, UsageError
from llmops.releases import ModelRecord
from tests.azure.conftest import CERTIFICATES, SETTINGS, Requests, environment, make_ml, set_traffic, unique
from tests.backends.packages import echo_flow, package

CHILD = Path(__file__).with_name("pitfalls_child.py")


class Place:
    """One workspace as this backend reaches it, and as the SDK does; `slept` are the seconds of each wait."""

    def __init__(self, emulator: Emulator, folder: Path, serving: dict[str, object] | None = None) -> None:
        self.environment = replace(environment("pitfalls"), serving=serving or {})
        self.slept: list[float] = []
        env = emulator.environment()
        self.session = AzureSession(read_settings(self.environment, env), env, sleep=self.slept.append)
        self.arm = Arm(self.session)
        self.blobs = Blobs(self.arm)
        models = WorkspacePlace(self.arm, self.blobs)
        self.registry = AzureRegistry(models, folder / "cache")
        self.endpoints = AzureEndpoints(self.arm, self.blobs, models, self.environment, env)
        self.folder = folder

    @property
    def naive(self) -> MLClient:
        return make_ml(self.session.credential, self.session.settings.workspace)

    def register(self, version: str = "one ", name: str = "echo") -> ModelRecord:
        into = self.folder / "packages" / unique(version.strip())
        manifest = package(echo_flow(self.folder / version.strip(), version), into, model=name)
        return self.registry.register(into, name=name, digest=manifest.digest, created_by="a test")

    def endpoint(self) -> str:
        name = unique("pit")
        self.endpoints.ensure_endpoint(name, tags={"made": "first"})
        return name

    def deploy(self, endpoint: str, name: str, model: ModelRecord) -> None:
        request = DeploymentRequest(name=name, model=model, package=self.registry.fetch(model))
        self.endpoints.create_deployment(endpoint, request)

    def close(self) -> None:
        for one in (self.endpoints, self.blobs, self.arm, self.session):
            one.close()


@pytest.fixture
def place(emulator: Emulator, tmp_path: Path) -> Iterator[Place]:
    made = Place(emulator, tmp_path)
    yield made
    made.close()


def test_what_was_read_is_not_written_back(place: Place, requests: Requests) -> None:
    name = place.endpoint()
    place.endpoints.update_endpoint(name, tags={"a": "1"})
    assert "createdBy" not in requests.all("PUT", f"onlineEndpoints/{name}")[-1].body
    set_traffic(place.naive, name)
    assert "createdBy" in requests.all("PUT", f"onlineEndpoints/{name}")[-1].body


def test_traffic_and_tags_are_one_request(place: Place, requests: Requests) -> None:
    name = place.endpoint()
    place.endpoints.update_endpoint(name, traffic={}, mirror={}, tags={"step": "1", "made": None})
    (_, update) = requests.all("PUT", f"onlineEndpoints/{name}")
    sent = json.loads(update.body)
    assert (sent["tags"], sent["properties"]["traffic"], sent["properties"]["mirrorTraffic"]) == ({"step": "1"}, {}, {})


def test_no_wait_is_longer_than_ten_seconds_whatever_the_service_hints(
    place: Place, settings: Callable[..., None]
) -> None:
    settings(poll_ms=0, retry_after_s=30, operation_s=0.3)
    place.endpoint()
    assert place.slept
    assert max(place.slept) <= 10


def test_a_deadline_is_an_error_of_its_own(emulator: Emulator, tmp_path: Path, inject: Callable[..., None]) -> None:
    """`poller.result(timeout=...)` dies with an AttributeError instead."""
    place = Place(emulator, tmp_path, {"deadline_s": 1})
    inject(effect="stick_operation", method="PUT", path="/onlineEndpoints/")
    with pytest.raises(DeadlineError, match=r"Azure did not create the endpoint '.*' in 1 s"):
        place.endpoint()
    poller = place.naive.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=unique("pit")))
    poller.wait()
    place.close()


def test_an_operation_that_failed_is_an_error_with_azures_reason(place: Place, inject: Callable[..., None]) -> None:
    inject(effect="fail_operation", method="PUT", path="/onlineEndpoints/", code="Nope", message="not today", count=2)
    with pytest.raises(BackendError, match="found Nope: not today"):
        place.endpoint()
    with pytest.raises(HttpResponseError) as naive:
        place.naive.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=unique("pit"))).result()
    assert naive.value.status_code == 200


def test_nothing_is_printed(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    """The SDK prints a dot to standard output for each poll, where a command writes its JSON."""
    name = place.endpoint()
    place.deploy(name, "first", place.register())
    place.endpoints.delete_deployment(name, "first")
    assert capfd.readouterr().out == ""
    place.naive.online_endpoints.begin_delete(name).result()
    assert "." in capfd.readouterr().out


def test_stray_files_are_not_uploaded(place: Place, emulator: Emulator) -> None:
    flow = echo_flow(place.folder / "one", "one ")
    (flow / "__pycache__").mkdir()
    (flow / "__pycache__" / "answer.pyc").write_bytes(b"x")
    place.register()
    uploaded = list(emulator.cloud.blobs.names(_container(place), ""))
    assert not any("pycache" in name for name in uploaded)
    place.naive.models.create_or_update(Model(name="naive", path=str(flow), type="custom_model"))
    assert any("pycache" in name for name in emulator.cloud.blobs.names(_container(place), ""))


def test_an_upload_that_broke_off_is_completed(place: Place, emulator: Emulator, inject: Callable[..., None]) -> None:
    inject(effect="reset", method="PUT", path=r"blob\.core.*manifest\.json", count=None)
    with pytest.raises(BackendError):
        place.register()
    emulator.cloud.faults.remove()
    model = place.register()
    verify_package(place.registry.fetch(model), model)


def test_a_blob_that_is_lost_is_uploaded_again_by_the_next_registration(place: Place, emulator: Emulator) -> None:
    model = place.register()
    path = blob_path(
        place.arm.get(place.arm.path("models/echo/versions/1"), version="2023-08-01-preview", what="") or {}
    )
    emulator.cloud.blobs.delete(_container(place), f"{path}/package/flow/flows/echo/answer.py")
    with pytest.raises(UsageError):
        verify_package(place.registry.fetch(model), model)
    emulator.cloud.store.delete("workspaces", place.session.settings.workspace_id, "models", "echo")
    again = place.register()
    verify_package(place.registry.fetch(again), again)


@pytest.mark.parametrize("status", [400, 409])
def test_a_version_that_went_to_other_content_is_left_to_it(
    place: Place, settings: Callable[..., None], status: int, emulator: Emulator
) -> None:
    """Two drivers that both saw no version; the SDK raises, because the error's text is not the one it looks for."""
    settings(changed_path_status=status)
    place.register("one ")
    stale = AzureRegistry(_Stale(place.arm, place.blobs), place.folder / "cache")
    into = place.folder / "packages" / "two"
    manifest = package(echo_flow(place.folder / "two", "two "), into)
    assert stale.register(into, name="echo", digest=manifest.digest, created_by="late").version == "2"
    del emulator


def test_a_version_that_was_deleted_keeps_its_number(place: Place) -> None:
    """Azure lists it no more and never gives its number again; the SDK counts on and is refused for ever."""
    place.register("one ")
    path = place.arm.path("models/echo/versions/1")
    place.arm.send("DELETE", path, version="2023-08-01-preview", what="delete the version")
    assert place.register("two ").version == "2"
    naive = Model(name="echo", version="1", path=str(place.folder / "two"), type="custom_model")
    with pytest.raises(HttpResponseError, match="cannot be recreated"):
        place.naive.models.create_or_update(naive)


def test_a_deployment_that_was_named_once_is_not_named_again(place: Place, requests: Requests) -> None:
    """`invoke` of the SDK goes on naming it; see `test_invoke_remembers_a_deployment_that_was_named_once`."""
    name = place.endpoint()
    for deployment in ("second", None):
        place.endpoints.score(name, {"question": "hi"}, deployment=deployment)
    sent = [entry.headers.get("azureml-model-deployment") for entry in requests.all("POST", "/score")]
    assert sent == ["second", None]


def test_a_name_that_someone_else_has_in_the_region_is_an_error_that_says_so(
    place: Place, emulator: Emulator, tmp_path: Path
) -> None:
    other, name = Place(emulator, tmp_path / "other"), place.endpoint()
    with pytest.raises(BackendError, match="already taken in this region"):
        other.endpoints.ensure_endpoint(name, tags={})
    other.close()


@pytest.mark.parametrize("name", ["ab", "two--dashes", "1abc"])
def test_a_name_that_azure_does_not_take_is_refused_before_anything_is_sent(
    place: Place, requests: Requests, name: str
) -> None:
    """The SDK lets two dashes through."""
    with pytest.raises(UsageError):
        place.endpoints.ensure_endpoint(name, tags={})
    assert requests.all() == []


def test_an_address_without_tls_is_refused_in_words(emulator: Emulator, tmp_path: Path) -> None:
    done = _child("no-tls", emulator, tmp_path)
    assert str(done["error"]).startswith("Azure cannot read the model 'm' without TLS")


@pytest.mark.parametrize("is_list", [True, False])
def test_an_unknown_model_is_none_whichever_way_azure_says_it(
    place: Place, settings: Callable[..., None], *, is_list: bool
) -> None:
    settings(lists_unknown_models=is_list)
    assert place.registry.find_digest("nobody", "sha256:0") is None
    assert place.registry.find("nobody", "1") is None


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"datastore_credentials": "None"}, id="no signature"),
        pytest.param({"secrets_type": "AccountKey"}, id="a key instead"),
    ],
)
def test_without_a_signature_blobs_are_reached_as_ourselves(
    place: Place, settings: Callable[..., None], changed: dict[str, str]
) -> None:
    settings(**changed)
    model = place.register()
    verify_package(place.registry.fetch(model), model)


def test_a_refused_signature_is_no_error_as_long_as_the_blobs_can_be_reached(
    place: Place, inject: Callable[..., None]
) -> None:
    inject(effect="deny", permission="*/listSecrets/action", count=None)
    assert place.register().version == "1"


def test_a_time_limit_over_azures_own_is_refused() -> None:
    from llmops.backends.azure.serving import read_serving

    with pytest.raises(UsageError) as error:
        read_serving({"request_timeout_s": 120, "instance_typ": "x"}, "environment 'dev'")
    assert [str(problem) for problem in error.value.problems] == [
        "environment 'dev': serving.request_timeout_s: too large\n  found 120\n  expected at most 90",
        "environment 'dev': serving.instance_typ: unknown key\n"
        f"  expected {error.value.problems[1].expected}\n  did you mean 'instance_type'?",
    ]


def test_two_clouds_in_one_command_are_refused(emulator: Emulator, tmp_path: Path) -> None:
    """The SDK keeps the first in a variable of the process, and would send the second's requests to it."""
    done = _child("two-clouds", emulator, tmp_path)
    assert str(done["error"]).startswith("two clouds in one command")


@pytest.mark.parametrize("task", ["own-cloud", "own-registry"])
def test_a_cloud_of_ones_own_is_reached_without_a_proxy(emulator: Emulator, tmp_path: Path, task: str) -> None:
    done = _child(task, emulator, tmp_path, proxy=False)
    assert done == {"versions": ["1"], "fetched": True, "deployed": "healthy", "answer": "one hi"}


def test_telemetry_is_off_without_anything_in_the_environment(emulator: Emulator, tmp_path: Path) -> None:
    before = len(emulator.cloud.journal.refused())
    done = _child("telemetry", emulator, tmp_path, without=("APPLICATIONINSIGHTS_", "PF_HOME_DIRECTORY"))
    assert done == {"runs": 0}
    assert emulator.cloud.journal.refused()[before:] == []


def test_prompt_flow_left_alone_asks_hosts_that_are_not_azure(
    root: Path, open_environment: dict[str, str], tmp_path: Path
) -> None:
    """What `quiet` keeps from happening."""
    script = install_azurite(root / ".cache", open_environment)
    with Emulator(azurite=script, settings=SETTINGS, certificates=CERTIFICATES) as own:
        loud = {"PF_HOME_DIRECTORY": str(tmp_path / "home")}
        assert _child("telemetry", own, tmp_path, without=("APPLICATIONINSIGHTS_",), more=loud) == {"runs": 0}
        asked = {one.target.partition(":")[0] for one in own.cloud.journal.refused()}
    assert "dc.services.visualstudio.com" in asked


class _Stale(WorkspacePlace):
    """A workspace whose first looks at the versions are old."""

    def versions(self, name: str) -> list[dict[str, object]]:
        found = super().versions(name)
        looks = self.__dict__.setdefault("looks", [])
        looks.append(name)
        return [] if len(looks) < 3 else found

    def get(self, name: str, version: str) -> dict[str, object] | None:
        return None if len(self.__dict__.get("looks", [])) < 3 else super().get(name, version)


def _container(place: Place) -> str:
    return place.blobs.uri.rpartition("/")[2]


def _child(
    task: str,
    emulator: Emulator,
    folder: Path,
    *,
    proxy: bool = True,
    without: tuple[str, ...] = (),
    more: Mapping[str, str] | None = None,
) -> dict[str, object]:
    env = {**os.environ, **emulator.environment(), **(more or {})}
    env = {name: value for name, value in env.items() if not name.startswith(without or ("\0",))}
    if not proxy:
        env = {name: value for name, value in env.items() if not name.lower().endswith("_proxy")}
    command = [sys.executable, str(CHILD), task, str(emulator.port)]
    env["PYTHONPATH"] = str(Path(__file__).parents[2])
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
