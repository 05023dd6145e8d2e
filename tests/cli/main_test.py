"""What the command line makes of its words."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.projects import TinyProject, make_project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    folder: Path = tmp_path_factory.mktemp("cli") / "project"
    folder.mkdir()
    return make_project(folder)


@pytest.mark.parametrize("name", ["--help", "--dry-run", "--without-verdict=x"])
@pytest.mark.parametrize("command", ["check", "register", "deploy", "rollback"])
def test_what_follows_the_dashes_is_a_name_whatever_it_looks_like(
    project: TinyProject, command: str, name: str
) -> None:
    answer = project.run(command, "--", name)
    assert answer.code == 2
    assert f"no experiment '{name}'" in answer.err


def test_options_from_variables_stay_options_before_the_dashes(project: TinyProject) -> None:
    answer = project.run("gate", "--", "--help", env={"LLMOPS_JSON": "1"})
    assert answer.code == 2
    assert "unknown arguments" not in answer.err


def test_nothing_behind_the_dashes_is_as_no_dashes(project: TinyProject) -> None:
    assert project.run("affected", "--base", "main", "--").out == project.run("affected", "--base", "main").out
