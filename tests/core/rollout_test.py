"""Plans: from what an endpoint looks like to steps, without any effect."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmops.core.endpoint import Deployment, Endpoint, is_valid_split
from llmops.core.release_rules import Rollout
from llmops.core.rollout import Wanted, blend, choose_rollback, plan_cleanup, plan_release
from llmops.core.rollout_state import MAX_TAG, Underway, begin_tags, read_state
from llmops.core.rollout_steps import Create, Delete, Evaluate, Finish, Mirror, Probe, Shift, Step

NOW = 1_700_000_000.0
WANTED = Wanted(
    id="r",
    action="deploy",
    endpoint="web",
    experiment="web",
    version="2",
    digest="sha256:" + "2b" * 32,
    rules=Rollout(),
)


def deployment(name: str, version: str, **changes: object) -> Deployment:
    digest = f"sha256:{version}b" + version * 62
    tags = {"llmops.version": version, "llmops.probed": digest, "llmops.evaluated": digest}
    values = {"model": "web", "status": "healthy", "tags": tags, **changes}
    return Deployment(name=name, version=version, digest=digest, **values)  # type: ignore[arg-type]


def serving(*deployments: Deployment, **traffic: int) -> Endpoint:
    tags = {"llmops.current": "v1 1"}
    return Endpoint(name="web", traffic=traffic, tags=tags, deployments={one.name: one for one in deployments})


def kinds(steps: tuple[Step, ...]) -> list[type]:
    return [type(step) for step in steps]


def after(endpoint: Endpoint, steps: tuple[Step, ...]) -> Endpoint:
    for step in steps:
        endpoint = step.after(endpoint, NOW)
    return endpoint


def test_the_first_version_gets_all_traffic_at_once_after_its_proof() -> None:
    plan = plan_release(None, WANTED, now=NOW)
    shifts = [step for step in plan.steps if isinstance(step, Shift)]
    assert [step.traffic for step in shifts] == [{"v2-2b2b2b2b": 100}]
    names = kinds(plan.steps)
    assert names.index(Create) < names.index(Probe) < names.index(Evaluate) < names.index(Shift) < names.index(Finish)


def test_a_canary_takes_its_share_from_what_serves() -> None:
    plan = plan_release(serving(deployment("v1", "1"), v1=100), WANTED, now=NOW)
    shares = [step.traffic.get("v1", 0) for step in plan.steps if isinstance(step, Shift)]
    assert shares == [90, 50, 0]


def test_after_its_steps_there_is_nothing_left_to_do() -> None:
    endpoint = serving(deployment("v1", "1"), v1=100)
    plan = plan_release(endpoint, WANTED, now=NOW)
    assert plan_release(after(endpoint, plan.steps), WANTED, now=NOW).steps == ()


@pytest.mark.parametrize("taken", range(12))
def test_from_any_point_half_way_the_rest_is_planned_and_no_proof_twice(taken: int) -> None:
    endpoint = serving(deployment("v1", "1"), v1=100)
    whole = plan_release(endpoint, WANTED, now=NOW).steps
    rest = plan_release(after(endpoint, whole[:taken]), WANTED, now=NOW).steps
    assert after(after(endpoint, whole[:taken]), rest) == after(endpoint, whole)
    for once in (Create, Probe, Evaluate):
        assert kinds((*whole[:taken], *rest)).count(once) == 1


def test_a_deployment_that_serves_other_content_under_the_name_gets_another_name() -> None:
    other = deployment("v2-2b2b2b2b", "7")
    plan = plan_release(serving(deployment("v1", "1"), other, v1=100), WANTED, now=NOW)
    assert plan.target == "v2-2b2b2b2b-2"


def test_an_immediate_rollout_is_proven_all_the_same() -> None:
    plan = plan_release(serving(deployment("v1", "1"), v1=100), replace(WANTED, strategy="immediate"), now=NOW)
    assert {Probe, Evaluate} <= set(kinds(plan.steps))
    assert kinds(plan.steps).count(Shift) == 1


def test_mirroring_comes_before_any_traffic() -> None:
    rules = Rollout(mirror_percent=20, mirror_s=60)
    plan = plan_release(serving(deployment("v1", "1"), v1=100), replace(WANTED, rules=rules), now=NOW)
    assert kinds(plan.steps).index(Mirror) < kinds(plan.steps).index(Shift)


def test_a_deployment_that_no_rollout_made_is_never_deleted() -> None:
    foreign = deployment("theirs", "9", tags={})
    assert plan_cleanup(serving(deployment("v1", "1"), foreign, v1=100), Rollout(), now=NOW) == ()


def test_a_deployment_that_belongs_to_nothing_is_deleted() -> None:
    orphan = deployment("v0", "0")
    (step,) = plan_cleanup(serving(deployment("v1", "1"), orphan, v1=100), Rollout(), now=NOW)
    assert isinstance(step, Delete)
    assert step.deployment == "v0"


def test_the_previous_deployment_goes_when_its_window_is_over() -> None:
    tags = {"llmops.version": "0", "llmops.retired": str(int(NOW))}
    endpoint = serving(deployment("v1", "1"), deployment("v0", "0", tags=tags), v1=100)
    endpoint = replace(endpoint, tags={**endpoint.tags, "llmops.previous": "v0 0"})
    assert plan_cleanup(endpoint, Rollout(rollback_window_s=60), now=NOW + 59) == ()
    assert len(plan_cleanup(endpoint, Rollout(rollback_window_s=60), now=NOW + 60)) == 1


def test_a_previous_deployment_that_is_not_healthy_is_deployed_again() -> None:
    sick = deployment("v0", "0", status="unhealthy")
    endpoint = serving(deployment("v1", "1"), sick, v1=100)
    endpoint = replace(endpoint, tags={**endpoint.tags, "llmops.previous": "v0 0"})
    choice = choose_rollback(endpoint, None)
    assert choice.place
    assert (choice.kind, choice.place.deployment, choice.place.version) == ("move", "", "0")


def test_a_failure_speaks_of_its_own_rollout_alone() -> None:
    underway = Underway(id="new", action="deploy", target="v2", version="2", before={"v1": 100})
    tags = {name: value for name, value in begin_tags(underway).items() if value is not None}
    stale = Endpoint(name="web", tags={**tags, "llmops.rollout.failed": "old 10 too slow"})
    mine = Endpoint(name="web", tags={**tags, "llmops.rollout.failed": "new 10 too slow"})
    found = [read_state(one).underway for one in (stale, mine)]
    assert [one.failure.reason if one and one.failure else "" for one in found] == ["", "too slow"]


def test_tags_stay_short_whatever_people_write() -> None:
    underway = Underway(id="r", action="deploy", target="v2", version="2", before={}, by="x" * 999, link="y" * 999)
    assert max(len(value or "") for value in begin_tags(underway).values()) <= MAX_TAG


def share_out(cuts: list[int]) -> dict[str, int]:
    """Cut 100 into shares of at least 1."""
    return {
        name: high - low for name, low, high in zip("abcde", [0, *sorted(cuts)], [*sorted(cuts), 100], strict=False)
    }


@given(st.lists(st.integers(1, 99), max_size=4, unique=True).map(share_out), st.integers(0, 100))
@example({"a": 34, "b": 33, "c": 33}, 50)
def test_a_blend_sums_to_100_and_gives_the_target_its_share(base: dict[str, int], percent: int) -> None:
    split = blend(base, "target", percent)
    assert is_valid_split(split)
    assert sum(split.values()) == 100
    assert split.get("target", 0) == percent
