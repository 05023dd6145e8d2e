"""A version moves between workspaces byte by byte, and not at all when its bytes are not what was approved."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from llmops.backends.registry import open_delivery
from llmops.config.load import load_project
from llmops.emulator.cloud import Workspace
from llmops.emulator.emulator import Emulator
from tests.azure.conftest import GROUP, SUBSCRIPTION
from tests.azure.rehearsal import Rehearsal, in_folder


@pytest.fixture
def rehearsal(emulator: Emulator, tmp_path: Path) -> Rehearsal:
    """A version that serves in `dev`, on a machine that has no copy of it any more."""
    rehearsal = in_folder(tmp_path, emulator)
    assert rehearsal.register() == 0, rehearsal.said
    assert rehearsal.deploy() == 0, rehearsal.said
    shutil.rmtree(rehearsal.project.root / ".llmops" / "azure")
    return rehearsal


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
