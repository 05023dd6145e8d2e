"""A repository with one small flow, `flows/qa`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows.repository import DAG, IDENTITY, Repository


@pytest.fixture(autouse=True)
def _own_git_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def empty(tmp_path: Path) -> Repository:
    root = tmp_path / "repository"
    root.mkdir()
    return Repository(root=root)


@pytest.fixture
def repository(empty: Repository) -> Repository:
    empty.write({"flows/qa/flow.dag.yaml": DAG, "flows/qa/answer.py": "def answer(question):\n    return question\n"})
    return empty
