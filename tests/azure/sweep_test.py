"""Every request of every command of delivery goes wrong in every way; the command absorbs it, or says so and goes on.

`make test-azure-full` tries every request with every fault; the normal run a sample that is the same each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest

from llmops.backends.azure import session
from llmops.emulator.emulator import Emulator
from llmops.emulator.faults import Fault
from tests.azure.conftest import FAULTS, Extent, unique
from tests.azure.rehearsal import Rehearsal, in_folder

SAMPLED = {"register": 24, "register in a registry": 10, "deploy": 4, "promote": 3, "rollback": 2}


class Scenario(NamedTuple):
    """One command: what is before it, and what must be after it.

    Attributes:
        prepare: brings a new place about; command: what is tried there.
        environment: where its effect shows; serves: versions and their traffic there afterwards.
    """

    prepare: Callable[[Rehearsal], None]
    command: Callable[[Rehearsal], int]
    environment: str
    serves: Mapping[str, int]


def _nothing(rehearsal: Rehearsal) -> None:
    rehearsal.new_workspace("dev")


def _no_registry(rehearsal: Rehearsal) -> None:
    rehearsal.registries["dev"] = unique("sweep")
    rehearsal.new_endpoint("dev")


def _registered(rehearsal: Rehearsal) -> None:
    rehearsal.new_endpoint("dev")
    assert rehearsal.register() == 0, rehearsal.said


def _deployed(rehearsal: Rehearsal) -> None:
    if not rehearsal.serving("dev"):
        _registered(rehearsal)
        assert rehearsal.deploy() == 0, rehearsal.said
    rehearsal.new_workspace("prod")


def _deployed_twice(rehearsal: Rehearsal) -> None:
    if rehearsal.serving("dev") == {"1": 100}:
        assert rehearsal.deploy(version="2") == 0, rehearsal.said
        return
    rehearsal.new_workspace("dev")
    for version in ("1", "2"):
        rehearsal.change_flow(version)
        assert rehearsal.register() == 0, rehearsal.said
        assert rehearsal.deploy() == 0, rehearsal.said


SCENARIOS: Mapping[str, Scenario] = {
    "register": Scenario(_nothing, Rehearsal.register, "dev", {}),
    "register in a registry": Scenario(_no_registry, Rehearsal.register, "dev", {}),
    "deploy": Scenario(_registered, Rehearsal.deploy, "dev", {"1": 100}),
    "promote": Scenario(_deployed, Rehearsal.promote, "prod", {"1": 100}),
    "rollback": Scenario(_deployed_twice, Rehearsal.rollback, "dev", {"1": 100}),
}


@pytest.fixture(scope="module", params=list(SCENARIOS))
def tried(request: pytest.FixtureRequest, emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One command in a project of its own."""
    return request.param, in_folder(tmp_path_factory.mktemp(str(request.param)), emulator)


def _count(scenario: Scenario, rehearsal: Rehearsal) -> int:
    """Count the requests of a command to which nothing happens."""
    scenario.prepare(rehearsal)
    before = rehearsal.emulator.cloud.journal.last_number()
    assert scenario.command(rehearsal) == 0, rehearsal.said
    return rehearsal.emulator.cloud.journal.last_number() - before


def test_a_request_that_goes_wrong_once_costs_nothing_but_time(tried: tuple[str, Rehearsal], extent: Extent) -> None:
    name, rehearsal = tried
    scenario, faults, problems = SCENARIOS[name], rehearsal.emulator.cloud.faults, []
    points = [(at, kind) for at in range(_count(scenario, rehearsal)) for kind in FAULTS]
    for at, kind in extent.pick(points, SAMPLED[name], name):
        scenario.prepare(rehearsal)
        faults.add(Fault(after=at, **FAULTS[kind]))
        code = scenario.command(rehearsal)
        faults.remove()
        said, serves = list(rehearsal.said), rehearsal.serving(scenario.environment)
        again = (scenario.command(rehearsal), rehearsal.serving(scenario.environment))
        if (code, serves, *again) != (0, scenario.serves, 0, scenario.serves):
            problems.append((kind, at, code, said, serves, *again))
    assert problems == []


def test_a_service_that_is_gone_is_a_clear_error_and_the_same_command_goes_on(
    tried: tuple[str, Rehearsal], extent: Extent
) -> None:
    """How often a command looks differs from run to run, so the last points may lie behind its end: then it is done."""
    name, rehearsal = tried
    scenario, faults = SCENARIOS[name], rehearsal.emulator.cloud.faults
    codes = set()
    count = _count(scenario, rehearsal)
    for at in extent.pick(range(count if extent.is_full else count // 2), 1, name, most=10):
        scenario.prepare(rehearsal)
        faults.add(Fault(after=at, status=503, count=None))
        code = scenario.command(rehearsal)
        faults.remove()
        codes.add(code)
        if code:
            assert code == 4, (f"{name}: gone at request {at}", rehearsal.said, rehearsal.out)
            assert "503" in "".join([*rehearsal.said, *rehearsal.out])
            session._sessions.clear()  # a command is a process of its own, and MSAL refuses for a minute what was refused
            rehearsal.let_lease_expire(scenario.environment)
            assert scenario.command(rehearsal) == 0, rehearsal.said
        assert rehearsal.serving(scenario.environment) == scenario.serves
    assert 4 in codes


def test_nothing_but_azure_was_asked(emulator: Emulator) -> None:
    assert emulator.cloud.journal.refused() == []
