"""`llmops doctor` looks at the workspace: who we are there, what we may do, what is left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from llmops.backends.azure.roles import FROM_REGISTRY, TO_REGISTRY
from llmops.commands.doctor import doctor
from llmops.emulator.emulator import Emulator
from tests.azure.conftest import unique
from tests.azure.rehearsal import Rehearsal, in_folder


def _look(rehearsal: Rehearsal) -> tuple[int, list[str]]:
    rehearsal.out.clear()
    code = doctor(context=rehearsal.context, environment="dev")
    return code, [line for line in rehearsal.out if "dev:" in line]


def test_a_workspace_in_which_all_is_well(emulator: Emulator, tmp_path: Path) -> None:
    rehearsal = in_folder(tmp_path, emulator)
    code, lines = _look(rehearsal)
    assert code == 0
    assert lines[0] == f"ok       dev: workspace: {rehearsal.workspaces['dev']} in eastus, as: environment"
    assert "ok       dev: roles for register: this identity has all actions (assumed, see docs/azure.md)" in lines


def test_a_missing_role_and_a_missing_connection_are_named(
    emulator: Emulator, tmp_path: Path, settings: Callable[..., None]
) -> None:
    rehearsal = in_folder(tmp_path, emulator)
    rehearsal.project.replace(
        "config/environments/dev.yaml", "backend: azure\n", "backend: azure\nconnections: {openai: {type: workspace}}\n"
    )
    settings(denied=("*/models/versions/write",), core_quota=0)
    code, lines = _look(rehearsal)
    text = "\n".join(lines)
    assert code == 4
    assert (
        "ERROR    dev: roles for register: missing: Microsoft.MachineLearningServices/workspaces/models/versions/write"
        in text
    )
    assert "dev: connections: the workspace has no connection 'openai'" in text
    assert "0 of 0 cores are free" in text


def test_a_workspace_that_is_not_there_is_an_error(
    emulator: Emulator, tmp_path: Path, inject: Callable[..., None]
) -> None:
    rehearsal = in_folder(tmp_path, emulator)
    inject(path=rf"/workspaces/{rehearsal.workspaces['dev']}$", status=404, code="ResourceNotFound")
    code, (line, *_) = _look(rehearsal)
    assert (code, "Azure could not open the workspace" in line) == (4, True)


def test_a_registry_is_looked_at_beside_the_workspace(emulator: Emulator, tmp_path: Path) -> None:
    registry = unique("shared")
    code, lines = _look(in_folder(tmp_path, emulator, dev=registry))
    assert code == 0
    assert f"ok       dev: registry: {registry} in eastus" in lines
    roles = [line.partition(": roles for ")[2].partition(":")[0] for line in lines if ": roles for " in line]
    assert roles[-2:] == [FROM_REGISTRY, TO_REGISTRY]
    assert "register" not in roles


def test_what_is_missing_in_a_registry_is_named(
    emulator: Emulator, tmp_path: Path, settings: Callable[..., None]
) -> None:
    settings(denied=("*/registries/assets/write",), registry_regions=("westeurope",))
    code, lines = _look(in_folder(tmp_path, emulator, dev=unique("shared")))
    text = "\n".join(lines)
    assert code == 4
    assert "missing: Microsoft.MachineLearningServices/registries/assets/write" in text
    assert "is not in the workspace's region" in text


def test_models_of_the_workspace_are_not_asked_for_where_a_registry_keeps_them(
    emulator: Emulator, tmp_path: Path, settings: Callable[..., None]
) -> None:
    settings(denied=("*/workspaces/models/*",))
    assert _look(in_folder(tmp_path, emulator, dev=unique("shared")))[0] == 0


def test_a_registry_that_does_not_exist_hides_nothing_else(
    emulator: Emulator, tmp_path: Path, settings: Callable[..., None]
) -> None:
    settings(registries=("other",))
    code, lines = _look(in_folder(tmp_path, emulator, dev="nowhere"))
    (line,) = [line for line in lines if "dev: registry:" in line]
    assert (code, "there is no registry 'nowhere'" in line) == (4, True)
    assert any("dev: quota:" in line for line in lines)
