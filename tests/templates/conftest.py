"""A project with a change, and the doubles that the templates' runs speak to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.azure_double import AzureRepos
from tests.hosts.github_double import GitHub
from tests.hosts.rest_double import serve
from tests.projects import TinyProject, make_project
from tests.templates.expressions import Expressions


@pytest.fixture(scope="module")
def expressions(node: Path, node_packages: Path) -> Iterator[Expressions]:
    """GitHub's own evaluator."""
    found = Expressions(node, node_packages)
    yield found
    found.close()


@pytest.fixture
def project(tmp_path: Path) -> TinyProject:
    """A project on its main branch."""
    (tmp_path / "origin").mkdir()
    return make_project(tmp_path / "origin")


@pytest.fixture
def github() -> Iterator[GitHub]:
    """GitHub's REST API."""
    service = GitHub()
    with serve(service):
        yield service


@pytest.fixture
def azure() -> Iterator[AzureRepos]:
    """Azure DevOps' REST API."""
    service = AzureRepos()
    with serve(service):
        yield service
