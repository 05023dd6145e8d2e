"""Plan rollouts: from what an endpoint looks like to the steps that bring it to where it should be. No effects here.

A plan is complete: it is what `--dry-run` shows and what is applied. The same functions plan the first attempt and
every later one, from whatever an earlier attempt left behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from llmops.core.endpoint import TOTAL_PERCENT, Deployment, Endpoint
from llmops.core.release_rules import Rollout, Strategy
from llmops.core.rollout_state import (
    CURRENT,
    CURRENT_AT,
    CURRENT_BY,
    CURRENT_LINK,
    EVALUATED,
    FAILED_AT,
    NO_ROLLOUT,
    PREVIOUS,
    PROBED,
    RETIRED,
    ROLLED_BACK,
    Action,
    Failure,
    Place,
    State,
    Underway,
    failure_of,
    is_ours,
    is_proven,
    read_state,
    short,
)
from llmops.core.rollout_steps import (
    AwaitHealthy,
    Bake,
    Begin,
    Create,
    Delete,
    EndRollout,
    EnsureEndpoint,
    Evaluate,
    Finish,
    MarkFailed,
    Mirror,
    Probe,
    Retire,
    Return,
    Shift,
    Step,
)
from llmops.errors import ExitCode

_DIGEST_SHOWN = 8
_MAX_NAME = 32


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The state to reach: one version with all traffic of one endpoint.

    Attributes:
        id: of this rollout, without spaces.
        digest: of the version's content.
        evaluate: whether the deployment must be evaluated before it gets traffic.
        at: ISO 8601, UTC; by, link: who, and which run of the CI system.
    """

    id: str
    action: Action
    endpoint: str
    experiment: str
    version: str
    digest: str
    rules: Rollout = field(default_factory=Rollout)
    strategy: Strategy = "canary"
    evaluate: bool = True
    at: str = ""
    by: str = ""
    link: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The steps from an observed state to the wanted one.

    Attributes:
        steps: in order; none when everything is already so.
        target: the deployment that is to have all traffic; empty when the plan only returns or cleans up.
        before: the split that a failed check returns to.
        failure: set when the steps end a rollout of this very version that failed before: it is not tried again.
    """

    endpoint: str
    steps: tuple[Step, ...] = ()
    target: str = ""
    before: Mapping[str, int] = field(default_factory=dict)
    failure: Failure | None = None


def plan_release(observed: Endpoint | None, wanted: Wanted, *, now: float) -> Plan:
    """Plan how one version gets all traffic.

    A rollout of the same version that stopped half-way is continued; one of another version is returned first; one
    that was on its way back is brought there, and is not tried again by the same plan.

    Args:
        observed: the endpoint as it is; None when there is none.
        wanted: the version, and the rules.
        now: seconds since the epoch.
    """
    build = _Builder(observed or Endpoint(name=wanted.endpoint), now)
    if observed is None:
        build.add(EnsureEndpoint(experiment=wanted.experiment))
    underway = read_state(build.endpoint).underway
    if underway and underway.failure:
        build.extend(plan_return(build.endpoint, underway.failure, keep_failed=wanted.rules.keep_failed, now=now))
        if _is_same(underway, wanted, build.endpoint):
            return Plan(endpoint=wanted.endpoint, steps=build.steps, failure=underway.failure)
    elif underway and not _is_same(underway, wanted, build.endpoint):
        build.extend(_supersede(build.endpoint, underway, wanted, now))
    target, before = _add_release(build, wanted)
    build.extend(plan_cleanup(build.endpoint, wanted.rules, now=now))
    return Plan(endpoint=wanted.endpoint, steps=build.steps, target=target, before=before)


def plan_return(endpoint: Endpoint, failure: Failure, *, keep_failed: bool, now: float) -> tuple[Step, ...]:
    """Plan how the traffic goes back to what served before the rollout that is under way.

    Args:
        endpoint: as it is; without a rollout under way there is nothing to do.
        failure: why; a reason that an earlier attempt wrote down stands.
        keep_failed: whether the deployment that is turned back stays, at 0 %.
        now: seconds since the epoch.
    """
    underway = read_state(endpoint).underway
    if underway is None:
        return ()
    failure = underway.failure or failure
    build = _Builder(endpoint, now)
    traffic = _split_to_return_to(endpoint, underway)
    if underway.failure is None or (traffic, {}) != (dict(endpoint.traffic), dict(endpoint.mirror)):
        build.add(Return(rollout=underway.id, traffic=traffic, failure=failure))
    deployment = endpoint.deployments.get(underway.target)
    if deployment and is_ours(deployment) and underway.target not in traffic and deployment.status != "deleting":
        if not keep_failed:
            build.add(Delete(deployment=underway.target, reason="turned back"))
        elif failure_of(deployment) is None:
            build.add(MarkFailed(deployment=underway.target, failure=failure))
    place = Place(deployment=underway.target, version=underway.version)
    build.add(EndRollout(tags={**NO_ROLLOUT, ROLLED_BACK: str(place)}))
    return build.steps


def plan_cleanup(endpoint: Endpoint, rules: Rollout, *, now: float) -> tuple[Step, ...]:
    """Plan which deployments go: older than the previous one, past the rollback window, failed before the last one.

    Only deployments that a rollout made, and that have no traffic, are ever deleted.
    """
    state = read_state(endpoint)
    if state.underway:
        return ()
    spared = {place.deployment for place in (state.current,) if place} | set(endpoint.traffic) | set(endpoint.mirror)
    idle = [one for one in endpoint.deployments.values() if is_ours(one) and one.name not in spared]
    latest = _latest_failed(idle) if rules.keep_failed else None
    steps = []
    for deployment in idle:
        reason = _reason_to_delete(deployment, state, latest, rules.rollback_window_s, now)
        if reason and deployment.status != "deleting":
            steps.append(Delete(deployment=deployment.name, reason=reason))
    return tuple(steps)


RollbackKind = Literal["return", "move", "already", "nothing"]


@dataclass(frozen=True, kw_only=True)
class RollbackChoice:
    """What a roll back means for an endpoint as it is.

    Attributes:
        kind: return: end the rollout that is under way, by `plan_return`; move: give `place` all traffic, by
            `plan_release`; already: the last rollout was turned back before; nothing: there is nothing to go to.
        place: where to; its deployment is empty when it must be made again.
    """

    kind: RollbackKind
    place: Place | None = None


def choose_rollback(endpoint: Endpoint, to: str | None) -> RollbackChoice:
    """Say where a roll back leads.

    Args:
        endpoint: as it is.
        to: a version; None for what served before the last rollout.
    """
    state = read_state(endpoint)
    underway = state.underway
    if underway and underway.action != "rollback":
        serving = {endpoint.deployments[name].version for name in underway.before if name in endpoint.deployments}
        if to is None or serving == {to}:
            return RollbackChoice(kind="return")
    if underway and underway.action == "rollback" and to in (None, underway.version):
        if underway.failure:
            return RollbackChoice(kind="return")
        return RollbackChoice(kind="move", place=Place(deployment=underway.target, version=underway.version))
    if to is not None:
        is_there = bool(state.current and state.current.version == to and not underway)
        place = Place(deployment=_healthy_with(endpoint, to), version=to)
        return RollbackChoice(kind="already" if is_there and _is_settled(endpoint, state) else "move", place=place)
    if state.rolled_back:
        return RollbackChoice(kind="already", place=state.current)
    if state.previous is None:
        return RollbackChoice(kind="nothing")
    found = endpoint.deployments.get(state.previous.deployment)
    if found and found.status == "healthy":
        return RollbackChoice(kind="move", place=state.previous)
    return RollbackChoice(kind="move", place=Place(deployment="", version=state.previous.version))


def blend(base: Mapping[str, int], target: str, percent: int) -> dict[str, int]:
    """Give a target its share and scale the others down in proportion, in whole percents.

    Args:
        base: a split that sums to 100; the target's own share in it is not counted.
        target: the deployment.
        percent: its share, 0 to 100.

    Returns:
        A split that sums to 100, without entries of 0.

    Source: the largest remainder method.
    """
    others = {name: share for name, share in base.items() if name != target and share}
    room, total = TOTAL_PERCENT - percent, sum(others.values())
    if not others or not room:
        return {target: TOTAL_PERCENT} if percent or not others else others
    split = {name: share * room // total for name, share in others.items()}
    by_remainder = sorted(others, key=lambda name: (-(others[name] * room % total), name))
    for name in by_remainder[: room - sum(split.values())]:
        split[name] += 1
    split[target] = percent
    return {name: share for name, share in split.items() if share}


class _Builder:
    """Collects steps and keeps track of what the endpoint looks like after them."""

    def __init__(self, endpoint: Endpoint, now: float) -> None:
        self.endpoint = endpoint
        self.steps: tuple[Step, ...] = ()
        self._now = now

    def add(self, step: Step) -> None:
        self.steps = (*self.steps, step)
        self.endpoint = step.after(self.endpoint, self._now)

    def extend(self, steps: Sequence[Step]) -> None:
        for step in steps:
            self.add(step)


def _is_same(underway: Underway, wanted: Wanted, endpoint: Endpoint) -> bool:
    """Say whether a rollout under way leads to what is wanted; a roll back is never continued by a deploy."""
    if underway.version != wanted.version or (underway.action == "rollback") != (wanted.action == "rollback"):
        return False
    deployment = endpoint.deployments.get(underway.target)
    return deployment is None or deployment.digest == wanted.digest


def _supersede(endpoint: Endpoint, underway: Underway, wanted: Wanted, now: float) -> tuple[Step, ...]:
    if underway.action == "rollback":
        # What it moved away from is known to be bad: the split stays as it is, and the new rollout starts from there.
        return (EndRollout(tags=NO_ROLLOUT),)
    failure = Failure(exit_code=int(ExitCode.GATE_FAILED), reason=f"given up for version {wanted.version}")
    return plan_return(endpoint, failure, keep_failed=wanted.rules.keep_failed, now=now)


def _add_release(build: _Builder, wanted: Wanted) -> tuple[str, Mapping[str, int]]:
    state = read_state(build.endpoint)
    underway = state.underway
    target = underway.target if underway else _pick(build.endpoint, wanted) or _free_name(build.endpoint, wanted)
    if not underway and state.current and state.current.deployment == target and _is_settled(build.endpoint, state):
        return target, {}
    if underway is None:
        underway = Underway(
            id=wanted.id,
            action=wanted.action,
            target=target,
            version=wanted.version,
            before=_stable_split(build.endpoint, state, without=target),
            at=wanted.at,
            by=wanted.by,
            link=wanted.link,
        )
        build.add(Begin(underway=underway))
    _add_proof(build, wanted, target)
    _add_traffic(build, wanted, target, underway.before)
    _add_end(build, wanted, underway)
    return target, underway.before


def _add_proof(build: _Builder, wanted: Wanted, target: str) -> None:
    rules = wanted.rules
    if target not in build.endpoint.deployments:
        build.add(Create(deployment=target, version=wanted.version, digest=wanted.digest))
    deployment = build.endpoint.deployments[target]
    if deployment.status != "healthy":
        build.add(AwaitHealthy(deployment=target, timeout_s=rules.healthy_timeout_s))
    if rules.probe_rows and not is_proven(deployment, PROBED):
        build.add(Probe(deployment=target, rows=rules.probe_rows, digest=wanted.digest))
    if wanted.evaluate and not is_proven(deployment, EVALUATED):
        build.add(Evaluate(deployment=target, dataset=rules.evaluate_dataset, digest=wanted.digest))


def _add_traffic(build: _Builder, wanted: Wanted, target: str, before: Mapping[str, int]) -> None:
    rules, share = wanted.rules, build.endpoint.traffic.get(target, 0)
    if before and share == 0 and rules.mirror_percent and wanted.strategy != "immediate":
        build.add(Mirror(deployment=target, percent=rules.mirror_percent, seconds=rules.mirror_s))
    if before and wanted.strategy == "canary":
        for step in rules.steps:
            if step.percent < share:
                continue
            traffic = blend(before, target, step.percent)
            if traffic != build.endpoint.traffic:
                build.add(Shift(deployment=target, traffic=traffic))
            build.add(Bake(deployment=target, percent=step.percent, seconds=step.bake_s))
    if build.endpoint.traffic != {target: TOTAL_PERCENT} or build.endpoint.mirror:
        build.add(Shift(deployment=target, traffic={target: TOTAL_PERCENT}))
    if wanted.strategy != "immediate" and rules.bake_s:
        build.add(Bake(deployment=target, percent=TOTAL_PERCENT, seconds=rules.bake_s))


def _add_end(build: _Builder, wanted: Wanted, underway: Underway) -> None:
    before = [build.endpoint.deployments[name] for name in underway.before if name in build.endpoint.deployments]
    main = max(before, key=lambda one: (underway.before[one.name], one.name), default=None)
    left = Place(deployment=main.name, version=main.version) if main else None
    current = Place(deployment=underway.target, version=wanted.version)
    tags: dict[str, str | None] = {
        **NO_ROLLOUT,
        CURRENT: str(current),
        CURRENT_AT: underway.at,
        CURRENT_BY: short(underway.by) or None,
        CURRENT_LINK: short(underway.link) or None,
        ROLLED_BACK: None,
    }
    if underway.action == "rollback":
        failure = Failure(exit_code=int(ExitCode.GATE_FAILED), reason="rolled back")
        for deployment in before:
            if is_ours(deployment) and failure_of(deployment) is None:
                build.add(MarkFailed(deployment=deployment.name, failure=failure))
        tags |= {PREVIOUS: None, ROLLED_BACK: str(left) if left else None}
    elif left:
        tags[PREVIOUS] = str(left)
        for deployment in before:
            if is_ours(deployment):
                build.add(Retire(deployment=deployment.name))
    build.add(Finish(tags=tags, current=current))


def _pick(endpoint: Endpoint, wanted: Wanted) -> str | None:
    """Find a deployment that can be used: same content, not turned back; the one with the most traffic first."""
    usable = [
        one
        for one in endpoint.deployments.values()
        if one.digest == wanted.digest
        and one.version == wanted.version
        and one.status in ("healthy", "creating")
        and is_ours(one)
        and failure_of(one) is None
    ]
    usable.sort(key=lambda one: (-endpoint.traffic.get(one.name, 0), one.status != "healthy", one.name))
    return usable[0].name if usable else None


def _free_name(endpoint: Endpoint, wanted: Wanted) -> str:
    stem = f"v{wanted.version}-{wanted.digest.removeprefix('sha256:')[:_DIGEST_SHOWN]}"[: _MAX_NAME - 4]
    name, count = stem, 1
    while name in endpoint.deployments:
        count += 1
        name = f"{stem}-{count}"
    return name


def _is_settled(endpoint: Endpoint, state: State) -> bool:
    """Say whether what the last rollout left is what serves."""
    name = state.current.deployment if state.current else ""
    found = endpoint.deployments.get(name)
    alone = endpoint.traffic == {name: TOTAL_PERCENT} and not endpoint.mirror
    return found is not None and found.status == "healthy" and alone


def _stable_split(endpoint: Endpoint, state: State, *, without: str) -> dict[str, int]:
    """Say what serves now and deserves to: the split over healthy deployments that were not turned back."""
    good = {
        name
        for name, one in endpoint.deployments.items()
        if one.status == "healthy" and failure_of(one) is None and name != without
    }
    serving = {name: percent for name, percent in endpoint.traffic.items() if name in good}
    if serving:
        return _rescale(serving)
    if state.current and state.current.deployment in good:
        return {state.current.deployment: TOTAL_PERCENT}
    others = {name: percent for name, percent in endpoint.traffic.items() if name != without}
    return _rescale(others) if others else {}


def _split_to_return_to(endpoint: Endpoint, underway: Underway) -> dict[str, int]:
    if not underway.before:
        others = {name: percent for name, percent in endpoint.traffic.items() if name != underway.target}
        return _rescale(others) if others else {}
    there = endpoint.deployments
    healthy = {n: p for n, p in underway.before.items() if n in there and there[n].status == "healthy"}
    if healthy:
        return _rescale(healthy)
    # Nothing of what served before can take the traffic: moving it would serve nobody.
    return dict(endpoint.traffic)


def _rescale(split: Mapping[str, int]) -> dict[str, int]:
    first, *_ = sorted(split, key=lambda name: (-split[name], name))
    scaled = {name: percent * TOTAL_PERCENT // sum(split.values()) for name, percent in split.items()}
    scaled[first] += TOTAL_PERCENT - sum(scaled.values())
    return {name: percent for name, percent in scaled.items() if percent}


def _healthy_with(endpoint: Endpoint, version: str) -> str:
    names = [
        one.name
        for one in endpoint.deployments.values()
        if one.version == version and one.status == "healthy" and failure_of(one) is None
    ]
    return min(names, key=lambda name: (-endpoint.traffic.get(name, 0), name), default="")


def _latest_failed(idle: Sequence[Deployment]) -> str | None:
    failed = [one for one in idle if failure_of(one)]
    return max(failed, key=lambda one: (one.tags.get(FAILED_AT, ""), one.name)).name if failed else None


def _reason_to_delete(
    deployment: Deployment, state: State, latest_failed: str | None, window_s: float, now: float
) -> str:
    if deployment.name == latest_failed:
        return ""
    if failure_of(deployment):
        return "turned back"
    if not state.previous or state.previous.deployment != deployment.name:
        return "older than what can be returned to"
    retired = deployment.tags.get(RETIRED, "")
    is_due = retired.isdecimal() and now >= int(retired) + window_s
    return "past the rollback window" if is_due else ""
