"""The rollouts that every fault is tried on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from llmops.backends.fake import Behaviour, Fault, Killed
from llmops.backends.protocols import Answer
from llmops.core.release_rules import LiveScores, Rollout, ScoreLimit
from llmops.delivery.driver import Driver, Result
from tests.delivery.worlds import ENDPOINT, RULES, World, digest_of, wanted

Command = Callable[[Driver], Result]


@dataclass(frozen=True)
class Scenario:
    """One command on a world in some state.

    Attributes:
        prepare: brings the world there; command: what is tried, again and again.
        serves: version to percent once it is over, whatever went wrong on the way.
        exit_code: of a run in which nothing goes wrong.
        previous: version that a roll back would lead to afterwards; empty when there is none.
        is_by_hand: whether someone set a split by hand, which `status` then goes on to name.
    """

    prepare: Callable[[World], object]
    command: Command
    serves: Mapping[str, int]
    exit_code: int = 0
    previous: str = ""
    is_by_hand: bool = False


def deploy(version: int, rules: Rollout = RULES, **changes: object) -> Command:
    """Deploy a version."""
    return lambda driver: driver.release(wanted(version, rules=rules, **changes))


def roll_back(to: str | None = None) -> Command:
    """Roll back."""

    def command(driver: Driver) -> Result:
        template = wanted(0, action="rollback", id="back")
        return driver.roll_back(template, to, lambda version: digest_of(int(version)), "a test wants it").result

    return command


def _first(world: World) -> None:
    deploy(1)(world.driver())


def _second(world: World) -> None:
    _first(world)
    deploy(2)(world.driver())


def _first_and(version: int, behaviour: Behaviour) -> Callable[[World], None]:
    def prepare(world: World) -> None:
        _first(world)
        world.behave(version, behaviour)

    return prepare


def _first_and_gate(world: World) -> None:
    _first(world)
    world.gates[digest_of(2)] = 10


def _first_and_fragile(world: World) -> None:
    _first(world)
    world.fragile.add(digest_of(2))


def _split_by_hand(world: World) -> None:
    """Let versions 1 and 2 serve together, as no rollout leaves it, and version 3 fail."""
    _second(world)
    traffic = {name: 70 if one.version == "2" else 30 for name, one in world.seen().deployments.items()}
    world.driver().endpoints.update_endpoint(ENDPOINT, traffic=traffic)
    world.behave(3, Behaviour(error_rate=0.5))


def _half_way(world: World) -> None:
    """Leave version 3 at 10 % over version 2, with a driver that is gone."""
    _second(world)
    driver = world.driver([Fault(at=_index_of_bake(), kind="die-before")])
    try:
        deploy(3)(driver)
    except Killed:
        world.let_leases_expire()


def _index_of_bake() -> int:
    trial = World()
    _second(trial)
    start = len(trial.backend.calls)
    deploy(3)(trial.driver())
    methods = [call.method for call in trial.backend.calls[start:]]
    return methods.index("measure")


def _again(world: World) -> None:
    """Serve version 2, which was turned back before and whose first deployment was kept."""
    _second(world)
    roll_back()(world.driver())
    deploy(2)(world.driver())


def _without_previous(world: World) -> None:
    """Serve version 2 after version 1 is gone for good."""
    deploy(1, replace(RULES, rollback_window_s=0))(world.driver())
    deploy(2, replace(RULES, rollback_window_s=0))(world.driver())


def _wrong_names(_: Mapping[str, object]) -> Answer:
    return Answer(status=200, outputs={"other": 1})


def _rude_to_users(inputs: Mapping[str, object]) -> Answer:
    return Answer(status=200, outputs=dict(inputs) if "row" in inputs else {"rude": 1})


MIRRORED = replace(RULES, mirror_percent=20, mirror_s=15)
SCORED = replace(RULES, live_scores=LiveScores(capture_percent=50, limits=[ScoreLimit(metric="quality.polite", min=1)]))
DROPPED = replace(RULES, keep_failed=False)

SCENARIOS: Mapping[str, Scenario] = {
    "first deploy": Scenario(lambda _: None, deploy(1), {"1": 100}),
    "upgrade": Scenario(_first, deploy(2), {"2": 100}, previous="1"),
    "upgrade with mirroring": Scenario(_first, deploy(2, MIRRORED), {"2": 100}, previous="1"),
    "blue-green": Scenario(_first, deploy(2, strategy="blue-green"), {"2": 100}, previous="1"),
    "third version, the first one goes": Scenario(_second, deploy(3), {"3": 100}, previous="2"),
    "promote": Scenario(_first, deploy(2, action="promote"), {"2": 100}, previous="1"),
    "deployment never healthy": Scenario(_first_and(2, Behaviour(fate="unhealthy")), deploy(2), {"1": 100}, 5),
    "deployment fails": Scenario(_first_and(2, Behaviour(fate="failed")), deploy(2), {"1": 100}, 10),
    "failed probe": Scenario(_first_and(2, Behaviour(answer=_wrong_names)), deploy(2), {"1": 100}, 10),
    "failed gate": Scenario(_first_and_gate, deploy(2), {"1": 100}, 10),
    "failed gate, not kept": Scenario(_first_and_gate, deploy(2, DROPPED), {"1": 100}, 10),
    "failed step": Scenario(_first_and(2, Behaviour(error_rate=0.5)), deploy(2), {"1": 100}, 10),
    "dies after its evaluation": Scenario(_first_and_fragile, deploy(2), {"1": 100}, 10),
    "failed blue-green over a split by hand": Scenario(
        _split_by_hand, deploy(3, strategy="blue-green"), {"1": 30, "2": 70}, 10, previous="1", is_by_hand=True
    ),
    "upgrade with live scores": Scenario(_first, deploy(2, SCORED), {"2": 100}, previous="1"),
    "failed live scores": Scenario(_first_and(2, Behaviour(answer=_rude_to_users)), deploy(2, SCORED), {"1": 100}, 10),
    "answers that never end": Scenario(_first_and(2, Behaviour(hang_rate=1.0)), deploy(2), {"1": 100}, 10),
    "slow version": Scenario(_first_and(2, Behaviour(latency_s=1.0)), deploy(2), {"1": 100}, 10),
    "roll back": Scenario(_second, roll_back(), {"1": 100}),
    "roll back of a deploy that died": Scenario(_half_way, roll_back(), {"2": 100}, previous="1"),
    "roll back of what was rolled back before": Scenario(_again, roll_back(), {"1": 100}),
    "roll back to a version that is gone": Scenario(_without_previous, roll_back("1"), {"1": 100}),
    "deploy over a deploy that died": Scenario(_half_way, deploy(4), {"4": 100}, previous="2"),
}
