"""The journey from an empty workspace: runs, registry and endpoints of the emulator, a second workspace as production."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmops.emulator.emulator import Emulator
from tests.azure.conftest import unique
from tests.azure.workbench import Workbench, make_workbench
from tests.journey import Journey, walk


@pytest.fixture
def bench(emulator: Emulator, tmp_path: Path) -> Workbench:
    del emulator
    bench = make_workbench(tmp_path / "project", "")
    bench.rows(*(f"question {number}" for number in range(6)))
    for name, verdict in (("dev", False), ("prod", True)):
        bench.serving(name, unique(f"journey-{name}"), verdict=verdict)
    bench.commit("environments")
    return bench


@pytest.mark.slow
def test_a_version_goes_all_the_way_from_an_empty_workspace(bench: Workbench, emulator: Emulator) -> None:
    walk(Journey(bench, bench.call))
    asked = {entry.path.partition("/workspaces/")[2].split("/")[0] for entry in emulator.cloud.journal.entries()}
    assert len({name for name in asked if name.startswith("journey-")}) == 2
