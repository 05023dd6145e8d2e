"""Seal the test process as soon as pytest loads this plugin, before any test module is imported."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

import tests.sealing.child.sitecustomize  # noqa: F401  # installs the guard
from tests.sealing.environment import sealed, without_secrets

STARTED_IN = dict(os.environ)
HOME = Path(tempfile.mkdtemp(prefix="llmops-tests-home-"))

os.environ.clear()
os.environ.update(sealed(STARTED_IN, HOME))
time.tzset()
# What a shell starts in the background ignores Ctrl-C, and so would every child whose Ctrl-C a test tries.
signal.signal(signal.SIGINT, signal.default_int_handler)

OPEN_ENVIRONMENT = pytest.StashKey[dict[str, str]]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hand a parallel worker the environment that the suite was started in; its own is sealed already."""
    node.workerinput["open_environment"] = without_secrets(STARTED_IN)


def pytest_configure(config: pytest.Config) -> None:
    """Keep the environment in which child processes may install packages."""
    handed = getattr(config, "workerinput", {}).get("open_environment")
    config.stash[OPEN_ENVIRONMENT] = handed or without_secrets(STARTED_IN)


def pytest_unconfigure() -> None:
    """Remove the home folder of the tests."""
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def open_environment(pytestconfig: pytest.Config) -> dict[str, str]:
    """The environment the suite was started in, less credentials; only for processes that install packages."""
    return pytestconfig.stash[OPEN_ENVIRONMENT]
