"""`llmops doctor` looks at the workspace: who we are there, what we may do, what is left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from llmops.commands.doctor import doctor
from llmops.emulator.emulator import Emulator
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
