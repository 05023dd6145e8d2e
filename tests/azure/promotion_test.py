"""A version moves between workspaces byte by byte, and not at all when its bytes are not what was approved."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from llmops.backends.registry import open_delivery
from llmops.config.load import load_project
from llmops.emulator.cloud import Workspace
from llmops.emulator.emulator import Emulator
from llmops.emulator.locations import place_of
from tests.azure.conftest import GROUP, SUBSCRIPTION, Requests, unique
from tests.azure.rehearsal import Rehearsal, in_folder


@pytest.fixture
def rehearsal(emulator: Emulator, tmp_path: Path) -> Rehearsal:
    """A version that serves in `dev`, on a machine that has no copy of it any more."""
    return serving(in_folder(tmp_path, emulator))


def serving(rehearsal: Rehearsal) -> Rehearsal:
    assert rehearsal.register() == 0, rehearsal.said
    assert rehearsal.deploy() == 0, rehearsal.said
    shutil.rmtree(rehearsal.project.root / ".llmops" / "azure")
    return rehearsal


@pytest.fixture
def sharing(emulator: Emulator, tmp_path: Path) -> Rehearsal:
    """The same where both environments have one registry."""
    registry = unique("shared")
    return serving(in_folder(tmp_path, emulator, dev=registry, prod=registry))


def shared_files(rehearsal: Rehearsal, version: str = "1") -> dict[tuple[str, str], bytes]:
    """Return the blobs of a version in the registry of `prod`, by container and name."""
    blobs, store = rehearsal.emulator.cloud.blobs, rehearsal.emulator.cloud.store
    found = store.get("registries", rehearsal.registries["prod"], "models", "tiny", "versions", version)
    assert found
    container, path = place_of(found["properties"]["modelUri"])
    return {(container, name): blobs.read(container, name) for name in blobs.names(container, path)}


def files(rehearsal: Rehearsal, environment: str) -> dict[str, bytes]:
    """Return the blobs of an environment's models by name."""
    blobs, container = rehearsal.emulator.cloud.blobs, container_of(rehearsal, environment)
    return {name: blobs.read(container, name) for name in blobs.names(container, "llmops/models/")}


def container_of(rehearsal: Rehearsal, environment: str) -> str:
    name = rehearsal.workspaces[environment]
    return Workspace(subscription=SUBSCRIPTION, resource_group=GROUP, name=name).container


def test_what_arrives_in_the_other_workspace_is_what_left_the_first(rehearsal: Rehearsal) -> None:
    assert rehearsal.promote() == 0, rehearsal.said
    assert files(rehearsal, "prod") == files(rehearsal, "dev") != {}
    _, (there,) = rehearsal.look("prod")
    _, (here,) = rehearsal.look("dev")
    assert (there.digest, there.manifest) == (here.digest, here.manifest)


def test_a_version_whose_bytes_changed_is_not_promoted(rehearsal: Rehearsal) -> None:
    (name,) = [name for name in files(rehearsal, "dev") if name.endswith("package/flow/flows/answer/answer.py")]
    blobs, container = rehearsal.emulator.cloud.blobs, container_of(rehearsal, "dev")
    blobs.write(container, name, blobs.read(container, name) + b"\n# and something else\n")
    assert rehearsal.promote() == 2
    assert "answer.py" in "".join(rehearsal.said)
    assert rehearsal.look("prod") == (None, [])


def test_what_was_promoted_needs_the_first_workspace_no_more(rehearsal: Rehearsal) -> None:
    assert rehearsal.promote() == 0, rehearsal.said
    blobs, container = rehearsal.emulator.cloud.blobs, container_of(rehearsal, "dev")
    for name in files(rehearsal, "dev"):
        blobs.delete(container, name)
    shutil.rmtree(rehearsal.project.root / ".llmops" / "azure")
    prod = load_project(rehearsal.project.root).environments["prod"]
    with open_delivery(prod, rehearsal.project.root / ".llmops", rehearsal.emulator.environment(), print) as delivery:
        (model,) = delivery.registry.list_models()
        assert (delivery.registry.fetch(model) / "flow/flows/answer/answer.py").is_file()


def test_over_one_registry_nothing_is_copied_and_the_number_stays(sharing: Rehearsal, requests: Requests) -> None:
    assert sharing.promote() == 0, sharing.said
    written = [entry for entry in requests.all("PUT") if "/registries/" in entry.path or "/registry-" in entry.path]
    assert written == []
    models = [entry for entry in requests.all("PUT", "/deployments/") if "azureml://registries/" in entry.body]
    assert len(models) == 1
    assert sharing.look("prod")[1] == sharing.look("dev")[1]
    assert (sharing.serving("prod"), files(sharing, "dev"), files(sharing, "prod")) == ({"1": 100}, {}, {})


def test_what_a_registry_holds_needs_the_first_workspace_no_more(sharing: Rehearsal) -> None:
    blobs, container = sharing.emulator.cloud.blobs, container_of(sharing, "dev")
    for name in list(blobs.names(container, "")):
        blobs.delete(container, name)
    assert sharing.promote() == 0, sharing.said
    assert sharing.serving("prod") == {"1": 100}


def test_a_version_moves_from_a_workspace_into_a_registry(emulator: Emulator, tmp_path: Path) -> None:
    rehearsal = serving(in_folder(tmp_path, emulator, prod=unique("shared")))
    assert rehearsal.promote() == 0, rehearsal.said
    copied = {name.partition("/")[2]: content for (_, name), content in shared_files(rehearsal).items()}
    here = {name.partition("llmops-")[2].partition("/")[2]: one for name, one in files(rehearsal, "dev").items()}
    assert copied == here != {}
    assert rehearsal.serving("prod") == {"1": 100}


def test_a_package_that_was_changed_in_the_registry_is_not_promoted(sharing: Rehearsal) -> None:
    ((container, name),) = [one for one in shared_files(sharing) if one[1].endswith("answer/answer.py")]
    sharing.emulator.cloud.blobs.write(container, name, b"# something else\n")
    assert sharing.promote() == 2
    assert "answer.py" in "".join(sharing.said)
    assert sharing.look("prod")[0] is None


def test_a_registry_that_does_not_exist_is_an_error_in_words(
    emulator: Emulator, tmp_path: Path, settings: Callable[..., None]
) -> None:
    rehearsal = in_folder(tmp_path, emulator, dev="nowhere")
    settings(registries=("other",))
    assert (rehearsal.register(), rehearsal.deploy(version="1")) == (4, 4)
    assert rehearsal.said[0] == (
        "azure.registry: there is no registry 'nowhere'\n"
        "  found 404 ResourceNotFound: The resource registry 'nowhere' was not found.\n"
        "  expected the name of a registry that this identity may read\n"
        "  See the names: az ml registry list. Or leave azure.registry out: the workspace keeps the versions."
    )


def test_an_environment_that_is_given_a_registry_goes_on_with_the_same_content(rehearsal: Rehearsal) -> None:
    """The number of a version is another one there, so what serves is replaced once."""
    rehearsal.change_flow("second")
    serving(rehearsal)
    environment = "config/environments/dev.yaml"
    rehearsal.project.replace(environment, 'registry: ""', f"registry: {unique('shared')}")
    assert (rehearsal.register(), rehearsal.deploy()) == (0, 0), rehearsal.said
    assert rehearsal.serving("dev") == {"1": 100}
    assert rehearsal.promote() == 0, rehearsal.said
