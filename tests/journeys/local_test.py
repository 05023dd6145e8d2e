"""The journey on this machine: real processes, a real registry, endpoints that really serve."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journey import Journey, environment, walk
from tests.projects import make_project


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    project = make_project(tmp_path / "project")
    project.rows(*(f"question {number}" for number in range(6)))
    for name, verdict in (("dev", False), ("prod", True)):
        text = environment(backend="local", endpoint=f"journey-{name}", verdict=verdict)
        project.write(f"config/environments/{name}.yaml", text)
    project.commit("environments")
    yield Journey(project, project.run)
    for name in ("dev", "prod"):
        project.run("endpoint", "stop", f"journey-{name}")


@pytest.mark.slow
def test_a_version_goes_all_the_way_on_this_machine(journey: Journey) -> None:
    walk(journey)
