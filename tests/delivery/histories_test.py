"""Long random histories: deploys, roll backs, faults and a second driver in the middle of a call of the first."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import example, given
from hypothesis import strategies as st

from llmops.backends.fake import Behaviour, Fault, FaultKind
from llmops.core.endpoint import is_valid_split
from llmops.core.release_rules import Rollout, TrafficStep
from llmops.core.rollout_state import read_state
from tests.delivery.scenarios import Command, deploy, roll_back
from tests.delivery.worlds import LEASE_S, RULES, World, digest_of, run_to_death
from tests.properties import costly

GOOD, FAILING_GATE, FAILING_LIVE, NEVER_HEALTHY = (1, 2, 3), 4, 5, 6
LAST = 9
QUICK: Rollout = replace(RULES, steps=(TrafficStep(percent=30, bake_s=5),), bake_s=0)


@dataclass(frozen=True)
class Act:
    """One command of one driver, what goes wrong for it, and how long everybody waits afterwards.

    Attributes:
        version: to deploy; None rolls back.
        meanwhile: version that a second driver deploys during the first one's late call; None for no second driver.
    """

    version: int | None
    fault: FaultKind | None
    at: int
    meanwhile: int | None
    wait_s: float


acts = st.builds(
    Act,
    version=st.sampled_from([*GOOD, FAILING_GATE, FAILING_LIVE, NEVER_HEALTHY, None]),
    fault=st.sampled_from(
        [None, "die-before", "die-after", "fail-once", "fail-for-good", "time-out", "late", "lands-later"]
    ),
    at=st.integers(min_value=0, max_value=60),
    meanwhile=st.sampled_from([None, *GOOD, FAILING_LIVE]),
    wait_s=st.sampled_from([0.0, 30.0, LEASE_S + 1, 7200.0]),
)


def make_world() -> World:
    world = World()
    world.gates[digest_of(FAILING_GATE)] = 10
    world.behave(FAILING_LIVE, Behaviour(error_rate=0.5))
    world.behave(NEVER_HEALTHY, Behaviour(fate="unhealthy"))
    return world


def command_of(version: int | None) -> Command:
    return roll_back() if version is None else deploy(version, QUICK)


def play(world: World, act: Act) -> None:
    """Let one driver try its command; a late call gives a second one the time to take over."""
    racer = act.meanwhile if act.fault == "late" else None

    def meanwhile() -> None:
        if racer is not None:
            world.is_strict = False
            run_to_death(command_of(racer), world.driver())

    seconds = {"late": 3 * LEASE_S, "lands-later": 500.0}.get(act.fault or "", 0.0)
    faults = [Fault(at=act.at, kind=act.fault, seconds=seconds, meanwhile=meanwhile)] if act.fault else []
    # From here on a write of a driver that is gone may land at any time.
    world.is_strict = world.is_strict and act.fault != "lands-later"
    run_to_death(command_of(act.version), world.driver(faults))
    world.backend.clock.sleep(act.wait_s)


NEXT = Act(version=1, fault=None, at=0, meanwhile=None, wait_s=0.0)


@given(st.lists(acts, min_size=1, max_size=6))
@example(
    [
        NEXT,
        NEXT,
        replace(NEXT, version=FAILING_GATE, fault="die-before", at=18, wait_s=61.0),
        replace(NEXT, version=FAILING_GATE, fault="late", at=6, meanwhile=FAILING_LIVE),
    ]
)
def test_whatever_happened_one_command_brings_the_endpoint_to_one_version(history: list[Act]) -> None:
    world = make_world()
    for act in history:
        play(world, act)
        assert is_valid_split(world.seen().traffic)
    world.backend.settle()
    world.let_leases_expire()
    world.is_strict = False
    result = deploy(LAST, QUICK)(world.driver())
    assert result.outcome == "done", result.reason
    assert world.serving() == {str(LAST): 100}
    assert read_state(world.seen()).underway is None
    kept = [one.version for one in world.seen().deployments.values() if one.version != str(LAST)]
    assert len(kept) <= 2
    again = deploy(LAST, QUICK)(world.driver())
    assert (again.outcome, again.steps) == ("done", [])


@given(st.lists(acts, min_size=1, max_size=4), st.sampled_from([FAILING_GATE, FAILING_LIVE, NEVER_HEALTHY]))
@costly(2)
def test_whatever_happened_a_bad_version_never_stays(history: list[Act], bad: int) -> None:
    world = make_world()
    deploy(1, QUICK)(world.driver())
    for act in history:
        play(world, act)
    world.backend.settle()
    world.let_leases_expire()
    world.is_strict = False
    for _ in range(2):
        result = deploy(bad, QUICK)(world.driver())
    assert result.outcome == "returned", result.reason
    assert str(bad) not in world.serving()
    assert sum(world.serving().values()) == 100
