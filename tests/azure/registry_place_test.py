"""Versions in a registry: what the unmodified SDK reads of them, and what happens when things go wrong on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from azure.ai.ml import MLClient

from llmops.backends.azure.arm import Arm
from llmops.backends.azure.refusals import RefusedError
from llmops.backends.azure.registry import AzureRegistry
from llmops.backends.azure.registry_place import RegistryPlace
from llmops.backends.azure.session import AzureSession
from llmops.backends.azure.settings import read_settings
from llmops.delivery.package import sha256_of, verify_package
from llmops.emulator.emulator import Emulator
from llmops.emulator.store import Document
from llmops.errors import BackendError, DeadlineError, UsageError
from llmops.releases import EvidenceRef, ModelRecord
from tests.azure.conftest import Requests, environment, unique
from tests.backends.packages import echo_flow, package

VERDICT = EvidenceRef(kind="verdict", id="v1", digest=sha256_of(b"it is fine"))


class _Late(RegistryPlace):
    """A registry that shows what is new late: after three lists, and after some looks at one version."""

    looks = 0

    def versions(self, name: str) -> list[Document]:
        lists = self.__dict__.setdefault("lists", [])
        lists.append(name)
        return [] if len(lists) <= 3 else super().versions(name)

    def get(self, name: str, version: str) -> Document | None:
        gets = self.__dict__.setdefault("gets", [])
        gets.append(version)
        return None if len(gets) <= self.looks else super().get(name, version)


class _VeryLate(_Late):
    looks = 1


class Shop:
    """A registry as this backend reaches it, and as the SDK does."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        env = emulator.environment()
        self.session = AzureSession(read_settings(environment("shop", registry=unique("shop")), env), env)
        self.arm, self.folder, self.emulator = Arm(self.session), folder, emulator
        self.place = RegistryPlace(self.arm)
        self.registry = AzureRegistry(self.place, folder / "cache")

    @property
    def name(self) -> str:
        return self.session.settings.registry

    @property
    def sdk(self) -> MLClient:
        return MLClient(self.session.credential, registry_name=self.name, show_progress=False)

    def build(self, text: str = "one ") -> tuple[Path, str]:
        into = self.folder / "packages" / unique(text.strip())
        return into, package(echo_flow(self.folder / text.strip(), text), into).digest

    def register(self, text: str = "one ", by: AzureRegistry | None = None) -> ModelRecord:
        into, digest = self.build(text)
        return (by or self.registry).register(into, name="echo", digest=digest, created_by="a test")

    def stored(self, kind: str = "models", name: str = "echo", version: str = "1") -> tuple[str, ...]:
        """Where the emulator keeps an asset."""
        return ("registries", self.name, kind, name, "versions", version)

    def delete(self, kind: str, name: str, version: str) -> None:
        url = f"{self.place.home.url}/{kind}/{name}/versions/{version}"
        self.arm.send("DELETE", url, version="2021-10-01-dataplanepreview", what="delete it")


@pytest.fixture
def shop(emulator: Emulator, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(emulator, tmp_path)
    yield made
    made.arm.close()
    made.session.close()


def test_the_sdk_reads_and_downloads_what_was_registered(shop: Shop) -> None:
    model = shop.register()
    found = shop.sdk.models.get("echo", version="1")
    assert found.properties["llmops.digest"] == model.digest
    assert [one.version for one in shop.sdk.models.list("echo")] == ["1"]
    shop.sdk.models.download("echo", version="1", download_path=shop.folder / "sdk")
    (folder,) = (shop.folder / "sdk").rglob("package")
    verify_package(folder, model)


def test_the_sdk_reads_the_evidence(shop: Shop) -> None:
    shop.registry.add_evidence(shop.register(), VERDICT, b"it is fine")
    (found,) = shop.sdk.data.list("llmops-evidence-echo-1")
    assert (found.type, found.tags["llmops.evidence-digest"]) == ("uri_file", VERDICT.digest)
    assert len(found.version) <= 30


def test_what_the_sdk_registered_is_passed_over_and_its_number_not_taken(shop: Shop) -> None:
    from azure.ai.ml.entities import Model

    folder = echo_flow(shop.folder / "theirs", "theirs ")
    shop.sdk.models.create_or_update(Model(name="echo", path=str(folder), type="custom_model"))
    assert shop.register().version == "2"
    assert [one.version for one in shop.registry.list_models()] == ["2"]


@pytest.mark.parametrize("forgets", [False, True])
def test_drivers_that_race_make_one_version_of_each_content(
    shop: Shop, settings: Callable[..., None], *, forgets: bool
) -> None:
    settings(new_upload_places=forgets, operation_s=0.3)
    built = [shop.build(text) for text in ("one ", "two ")] * 3
    with ThreadPoolExecutor(6) as pool:
        made = list(
            pool.map(lambda one: shop.registry.register(one[0], name="echo", digest=one[1], created_by="t"), built)
        )
    assert {one.version for one in made} == {"1", "2"}
    assert {(one.name, one.digest) for one in made} == {(one.name, one.digest) for one in shop.registry.list_models()}
    assert len(shop.registry.list_models()) == 2


def test_a_conflict_with_a_driver_that_is_not_done_is_waited_out(
    shop: Shop, settings: Callable[..., None], inject: Callable[..., None]
) -> None:
    settings(operation_s=1.5)
    inject(method="PUT", path="/registries/.*/models/echo/versions/1", status=409, code="Conflict", after=1)
    folder, digest = shop.build()

    def register(_: int) -> str:
        return shop.registry.register(folder, name="echo", digest=digest, created_by="t").version

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(register, range(2))) == ["1", "1"]


@pytest.mark.parametrize("status", [400, 409])
@pytest.mark.parametrize("kind", [_Late, _VeryLate])
def test_a_version_that_went_to_other_content_is_left_to_it(
    shop: Shop, settings: Callable[..., None], kind: type[_Late], status: int
) -> None:
    settings(changed_path_status=status)
    shop.register("one ")
    assert shop.register("two ", AzureRegistry(kind(shop.arm), shop.folder / "cache")).version == "2"


@pytest.mark.parametrize("kind", [_Late, _VeryLate])
def test_the_same_content_is_found_though_it_is_shown_late(shop: Shop, kind: type[_Late]) -> None:
    shop.register("one ")
    assert shop.register("one ", AzureRegistry(kind(shop.arm), shop.folder / "cache")).version == "1"


def test_an_upload_that_broke_off_is_completed(shop: Shop, requests: Requests, inject: Callable[..., None]) -> None:
    inject(effect="reset", method="PUT", path=r"blob\.core.*manifest\.json", count=None)
    with pytest.raises(BackendError):
        shop.register()
    shop.emulator.cloud.faults.remove()
    model = shop.register()
    uploaded = [entry.path for entry in requests.all("PUT", "/registry-") if entry.status == 201]
    assert len(uploaded) == len(set(uploaded))
    assert len({path.split("/")[1] for path in uploaded}) == 1
    verify_package(shop.registry.fetch(model), model)


def test_an_operation_that_fails_is_an_error_with_azures_reason_and_the_next_one_goes_on(
    shop: Shop, inject: Callable[..., None]
) -> None:
    inject(effect="fail_operation", method="PUT", path="/models/echo/", code="Nope", message="not today")
    with pytest.raises(RefusedError, match="found 400 Nope: not today"):
        shop.register()
    assert shop.register().version == "1"


def test_an_operation_without_end_is_given_up(shop: Shop, inject: Callable[..., None]) -> None:
    inject(effect="stick_operation", method="PUT", path="/models/echo/", count=None)
    brief = AzureRegistry(replace(shop.place, deadline_s=0.2), shop.folder / "cache")
    with pytest.raises(DeadlineError, match=r"register echo version 1 in the registry 'shop.*' in 0.2 s"):
        shop.register(by=brief)


def test_a_version_that_was_deleted_keeps_its_number(shop: Shop) -> None:
    shop.register("one ")
    shop.delete("models", "echo", "1")
    assert shop.register("two ").version == "2"


def test_a_version_whose_registration_failed_is_passed_over(shop: Shop) -> None:
    """Whether Azure leaves such a version behind is not known."""
    model = shop.register()

    def fail(version: Document) -> None:
        version["properties"]["provisioningState"] = "Failed"

    shop.emulator.cloud.store.update(*shop.stored(), change=fail)
    assert shop.registry.find("echo", "1") is None
    assert (shop.register().version, shop.register().digest) == ("2", model.digest)


@pytest.mark.parametrize("path", ["tempdatarefs/llmops-evidence", "/document", "/data/llmops-evidence"])
def test_evidence_whose_answer_was_lost_is_there_once(shop: Shop, inject: Callable[..., None], path: str) -> None:
    model = shop.register()
    inject(effect="lose_answer", method="PUT", path=path)
    found = shop.registry.add_evidence(model, VERDICT, b"it is fine")
    assert shop.registry.add_evidence(found, VERDICT, b"it is fine").evidence == (VERDICT,)
    assert shop.registry.read_evidence(found, VERDICT) == b"it is fine"


def test_evidence_that_was_deleted_cannot_come_back(shop: Shop) -> None:
    model = shop.registry.add_evidence(shop.register(), VERDICT, b"it is fine")
    (version,) = [one.version for one in shop.sdk.data.list("llmops-evidence-echo-1")]
    shop.delete("data", "llmops-evidence-echo-1", version)
    with pytest.raises(BackendError, match="the registry does not take the document back"):
        shop.registry.add_evidence(model, VERDICT, b"it is fine")


def test_files_that_are_gone_are_an_error_that_says_where_they_were(shop: Shop) -> None:
    model = shop.register()
    found = shop.emulator.cloud.store.get(*shop.stored())
    assert found
    container = found["properties"]["modelUri"].split("/")[-2]
    for name in list(shop.emulator.cloud.blobs.names(container, "")):
        shop.emulator.cloud.blobs.delete(container, name)
    with pytest.raises(UsageError, match=rf"the package is gone\n  found no files at https://.*/{container}/llmops-"):
        shop.registry.fetch(model)


def test_a_missing_role_names_the_action(shop: Shop, inject: Callable[..., None]) -> None:
    inject(effect="deny", permission="*/registries/assets/write", count=None)
    with pytest.raises(BackendError, match=r"action 'Microsoft.MachineLearningServices/registries/assets/write'"):
        shop.register()
