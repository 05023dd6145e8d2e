"""Drivers on Azure are killed for real, at any request; the same command then brings the work to its end.

`make test-azure-full` kills more; the normal run a few, the same each time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import pytest

from llmops.emulator.emulator import Emulator
from llmops.emulator.faults import Fault
from tests.azure.conftest import Extent
from tests.azure.rehearsal import Rehearsal, in_folder
from tests.projects import kill, wait_for

KILLS, MOST_KILLS = 1, 7
_HELD_S = 3.0


class Killed(NamedTuple):
    """A command whose process is killed.

    Attributes:
        requests: about as many as it sends.
        arguments: of the command line; again: the same command.
    """

    requests: int
    arguments: tuple[str, ...]
    again: Callable[[Rehearsal], int]
    environment: str
    serves: Mapping[str, int]


COMMANDS = {
    "register": Killed(
        16, ("register", "tiny", "--environment", "dev", "--without-verdict", "a test"), Rehearsal.register, "dev", {}
    ),
    "deploy": Killed(80, ("deploy", "tiny", "--environment", "dev"), Rehearsal.deploy, "dev", {"1": 100}),
    "promote": Killed(90, ("promote", "tiny", "--from", "dev", "--to", "prod"), Rehearsal.promote, "prod", {"1": 100}),
}


def _prepare(rehearsal: Rehearsal, name: str) -> None:
    if name == "register":
        rehearsal.new_workspace("dev")
        return
    assert rehearsal.register() == 0, rehearsal.said
    if name == "deploy":
        rehearsal.new_endpoint("dev")
        return
    assert rehearsal.deploy() == 0, rehearsal.said
    rehearsal.new_workspace("prod")


@pytest.mark.parametrize("effect", ["hang", "delay"])
@pytest.mark.parametrize("name", list(COMMANDS))
def test_a_driver_that_is_killed_leaves_work_that_the_same_command_ends(
    emulator: Emulator, tmp_path_factory: pytest.TempPathFactory, extent: Extent, name: str, effect: str
) -> None:
    """With `delay` the request in flight takes effect after its driver died, with `hang` it never does."""
    rehearsal, command = in_folder(tmp_path_factory.mktemp(name), emulator), COMMANDS[name]
    for at in extent.pick(range(command.requests), KILLS, name + effect, most=MOST_KILLS):
        _prepare(rehearsal, name)
        _kill_at(rehearsal, command, at, effect)
        if name != "register":
            rehearsal.let_lease_expire(command.environment)
        assert command.again(rehearsal) == 0, (at, rehearsal.said, rehearsal.out)
        assert rehearsal.serving(command.environment) == command.serves
        _, models = rehearsal.look(command.environment)
        assert [one.version for one in models] == ["1"]


def _kill_at(rehearsal: Rehearsal, command: Killed, at: int, effect: str) -> None:
    """Start the command, hold its request number `at`, and kill it there."""
    cloud = rehearsal.emulator.cloud
    cloud.faults.add(Fault(effect=effect, after=at, delay_s=_HELD_S))  # type: ignore[arg-type]
    process = rehearsal.start(*command.arguments)
    wait_for(lambda: process.poll() is not None or not cloud.faults.pending())
    kill(process)
    assert process.returncode in (-9, 0), process.returncode
    cloud.faults.remove()
    time.sleep(_HELD_S)  # until the request that was held has taken effect, or not


def test_nothing_but_azure_was_asked(emulator: Emulator) -> None:
    assert emulator.cloud.journal.refused() == []
