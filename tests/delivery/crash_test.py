"""Every backend call of every rollout goes wrong once in every way; the same command then brings it to its end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

import pytest

from llmops.backends.fake import Fault, FaultKind
from llmops.core.rollout_state import failure_of, read_state
from llmops.core.rollout_status import Concern, find_concerns
from llmops.delivery.driver import Result
from llmops.errors import LeaseHeldError, LlmopsError
from tests.delivery.scenarios import SCENARIOS, Scenario, deploy
from tests.delivery.worlds import ENDPOINT, LEASE_S, RULES, World, run_to_death

KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
_PASSING = {"fail-once", "time-out", "late", "lands-later"}
_WRITES = {"update_endpoint", "create_deployment", "tag_deployment", "delete_deployment", "ensure_endpoint"}


@dataclass(frozen=True)
class Point:
    """One call of one scenario, and what goes wrong at it."""

    scenario: str
    fault: Fault

    def __str__(self) -> str:
        return f"{self.scenario}: {self.fault.kind} at call {self.fault.at}"


def points(name: str) -> Iterator[Point]:
    """List every point of one scenario."""
    for at in range(calls_of(SCENARIOS[name])):
        for kind in KINDS:
            seconds = {"late": 3 * LEASE_S, "lands-later": 2.0}.get(kind, 0.0)
            yield Point(name, Fault(at=at, kind=kind, seconds=seconds))


def calls_of(scenario: Scenario) -> int:
    """Count the calls of a run in which nothing goes wrong, and see that it ends as it should."""
    world = World()
    scenario.prepare(world)
    start = len(world.backend.calls)
    result = scenario.command(world.driver())
    assert result.exit_code == scenario.exit_code
    assert_over(world, scenario)
    return len(world.backend.calls) - start


def concerns_of(world: World) -> list[Concern]:
    """Ask what `status` would say."""
    lease = world.backend.leases.get(ENDPOINT)
    held = lease if lease and lease.expires_at > world.backend.clock.now() else None
    return find_concerns(
        world.seen(),
        held,
        experiment="web",
        environment="prod",
        window_s=RULES.rollback_window_s,
        now=world.backend.clock.now(),
    )


def assert_over(world: World, scenario: Scenario) -> None:
    """See that a scenario came to its end."""
    assert world.serving() == scenario.serves
    previous = read_state(world.seen()).previous
    assert (previous.version if previous else "") == scenario.previous
    assert_tidy(world, scenario)


def assert_tidy(world: World, scenario: Scenario) -> None:
    """See that nothing is left half done: whatever has no traffic is kept for a reason that `status` names."""
    endpoint = world.seen()
    to_mend = [concern for concern in concerns_of(world) if concern.fix]
    assert scenario.is_by_hand or not to_mend, to_mend
    assert read_state(endpoint).underway is None
    assert len(endpoint.deployments) <= 3
    turned_back = [one.name for one in endpoint.deployments.values() if failure_of(one)]
    assert len(turned_back) <= 1, f"of these only the last one is worth a look: {turned_back}"


def try_point(point: Point) -> None:
    """Let one call go wrong, then run the same command until it is over."""
    scenario = SCENARIOS[point.scenario]
    world = World()
    scenario.prepare(world)
    before = world.seen()
    result = run_to_death(scenario.command, world.driver([point.fault]))
    if point.fault.kind in _PASSING:
        assert_absorbed(world, scenario, point, result)
    if result is None:
        assert_named(world, before_run=before)
    elif isinstance(result, Result) and result.outcome == "stopped":
        assert result.exit_code == 4
        assert_named(world, before_run=before)
    world.backend.settle()
    wait_for_the_lease(world, scenario)
    underway = read_state(world.seen()).underway
    start = len(world.backend.calls)
    again = scenario.command(world.driver())
    assert again.outcome != "stopped", again.reason
    if underway and underway.failure and scenario.exit_code:
        assert again.exit_code == underway.failure.exit_code
        assert "create_deployment" not in {call.method for call in world.backend.calls[start:]}
    assert_over(world, scenario)
    assert_nothing_to_do(world, scenario, again)


def wait_for_the_lease(world: World, scenario: Scenario) -> None:
    """See that a second driver is told who holds the lease, until it has expired."""
    lease = world.backend.leases.get(ENDPOINT)
    if lease and lease.expires_at > world.backend.clock.now():
        told = run_to_death(scenario.command, world.driver())
        assert isinstance(told, LeaseHeldError)
        assert "a test" in str(told)
        world.let_leases_expire()


def assert_named(world: World, *, before_run: object) -> None:
    """See that `status` names what a rollout left behind, and how to mend it."""
    if world.seen() == before_run or world.seen().name not in world.backend.endpoints:
        return
    concerns = concerns_of(world)
    lease = world.backend.leases.get(ENDPOINT)
    is_over = read_state(world.seen()).underway is None
    assert is_over or lease or any(concern.fix for concern in concerns), concerns


def assert_absorbed(world: World, scenario: Scenario, point: Point, result: object) -> None:
    """See that a call that fails in passing costs nothing but time."""
    assert isinstance(result, Result), result
    assert (result.outcome != "stopped", result.exit_code) == (True, scenario.exit_code), result.reason
    if point.fault.kind != "lands-later":
        assert ENDPOINT not in world.backend.leases


def assert_nothing_to_do(world: World, scenario: Scenario, again: Result) -> None:
    """See that a command that is done changes nothing when it is run once more."""
    if again.exit_code:
        return
    start = len(world.backend.calls)
    assert scenario.command(world.driver()).exit_code == 0
    assert not [call for call in world.backend.calls[start:] if call.method in _WRITES]


def try_stale_write(name: str, at: int) -> None:
    """Kill a driver while a write of it is on its way; it lands when another driver has brought all to its end."""
    scenario = SCENARIOS[name]
    world = World()
    scenario.prepare(world)
    faults = [Fault(at=at, kind="lands-later", seconds=1e9), Fault(at=at + 1, kind="die-before")]
    assert run_to_death(scenario.command, world.driver(faults)) is None
    world.let_leases_expire()
    scenario.command(world.driver())
    assert_over(world, scenario)
    world.is_strict = False
    world.backend.settle()
    world.let_leases_expire()
    scenario.command(world.driver())
    assert world.serving() == scenario.serves
    assert_tidy(world, scenario)


def try_race(name: str, at: int, other: Scenario) -> None:
    """Let a second driver do its whole work while a call of the first one hangs for longer than its lease."""
    scenario = SCENARIOS[name]
    world = World()
    scenario.prepare(world)
    results: list[object] = []

    def meanwhile() -> None:
        results.append(run_to_death(other.command, world.driver()))
        results.append(len(world.backend.calls))
        world.is_strict = False

    fault = Fault(at=at, kind="late", seconds=3 * LEASE_S, meanwhile=meanwhile)
    first = run_to_death(scenario.command, world.driver([fault]))
    _, start = results
    assert isinstance(start, int)
    assert sum(call.method in _WRITES for call in world.backend.calls[start:]) <= 1
    assert isinstance(first, (Result, LlmopsError))
    world.is_strict = True
    world.let_leases_expire()
    other.command(world.driver())
    assert world.serving() == other.serves
    assert_tidy(world, other)


@pytest.mark.parametrize("name", [name for name in SCENARIOS if not SCENARIOS[name].is_by_hand])
def test_a_stale_write_of_a_dead_driver_is_mended_by_the_same_command(name: str) -> None:
    for at in range(calls_of(SCENARIOS[name]) - 1):
        try:
            try_stale_write(name, at)
        except AssertionError as error:
            raise AssertionError(f"call {at}: {error}") from error


@pytest.mark.parametrize("name", ["upgrade", "failed step", "roll back"])
def test_a_driver_that_lost_its_lease_harms_the_next_one_by_one_write_at_most(name: str) -> None:
    for at in range(1, calls_of(SCENARIOS[name]) - 1):
        try:
            try_race(name, at, Scenario(lambda _: None, deploy(3), {"3": 100}))
        except AssertionError as error:
            raise AssertionError(f"call {at}: {error}") from error


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_fault_at_every_call_ends_in_a_known_state(name: str) -> None:
    for point in points(name):
        try:
            try_point(point)
        except (AssertionError, LeaseHeldError) as error:
            raise AssertionError(f"{point}: {error}") from error


def test_enough_points_are_tried(capsys: pytest.CaptureFixture[str]) -> None:
    counts = {name: calls_of(scenario) * len(KINDS) for name, scenario in SCENARIOS.items()}
    with capsys.disabled():
        sys.stdout.write(f"\n{sum(counts.values())} kill and fault points over {len(counts)} scenarios\n")
    assert len(counts) >= 7
    assert sum(counts.values()) >= 1000
