"""A checked project for the commands of delivery: made once, copied for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.shop import Shop, checked_project, open_shop
from tests.projects import TinyProject


@pytest.fixture(scope="session")
def checked(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    return checked_project(tmp_path_factory.mktemp("checked") / "project")


@pytest.fixture
def shop(checked: TinyProject, tmp_path: Path) -> Shop:
    return open_shop(checked, tmp_path)
