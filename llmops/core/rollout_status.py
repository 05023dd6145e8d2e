"""Say what is stuck, orphaned or kept on an endpoint, and which command mends it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from llmops.core.endpoint import TOTAL_PERCENT, Deployment, Endpoint, Lease
from llmops.core.rollout_state import RETIRED, State, Underway, failure_of, is_ours, read_state
from llmops.core.rollout_steps import say_split


@dataclass(frozen=True, kw_only=True)
class Concern:
    """One thing that someone should know of.

    Attributes:
        what: one sentence.
        fix: the command that mends it; empty when nothing needs to be done.
    """

    what: str
    fix: str = ""


def find_concerns(
    endpoint: Endpoint, lease: Lease | None, *, experiment: str, environment: str, window_s: float, now: float
) -> list[Concern]:
    """List what is not as a rollout that ended well leaves it.

    Args:
        endpoint: as it is.
        lease: who changes it now; None when nobody does.
        experiment: for the commands; environment too.
        environment: for the commands.
        window_s: seconds for which the previous deployment is kept.
        now: seconds since the epoch.
    """
    state = read_state(endpoint)
    where = f"{experiment} --environment {environment}"
    concerns = []
    if state.underway:
        concerns.append(_about_rollout(state.underway, endpoint, lease, where))
    else:
        concerns += _about_traffic(endpoint, state, lease, where)
    for deployment in endpoint.deployments.values():
        concerns += _about_deployment(deployment, endpoint, state, where, now - window_s)
    return concerns


def _about_rollout(underway: Underway, endpoint: Endpoint, lease: Lease | None, where: str) -> Concern:
    split = say_split(endpoint.traffic)
    title = f"{underway.action} of version {underway.version}"
    if lease:
        return Concern(what=f"{title} is under way by {lease.owner}; the traffic is {split}")
    back = f"llmops rollback {where}"
    if underway.failure:
        return Concern(
            what=f"{title} was not returned to the end: {underway.failure.reason}; the traffic is {split}", fix=back
        )
    again = back if underway.action == "rollback" else f"llmops deploy {where} --version {underway.version}, or {back}"
    return Concern(what=f"{title} stopped half-way; the traffic is {split}", fix=again)


def _about_traffic(endpoint: Endpoint, state: State, lease: Lease | None, where: str) -> Iterator[Concern]:
    if state.current is None:
        if endpoint.traffic:
            yield Concern(what=f"no rollout set the traffic, which is {say_split(endpoint.traffic)}")
        elif not lease and not any(failure_of(one) for one in endpoint.deployments.values()):
            yield Concern(what="nothing was ever released here", fix=f"llmops deploy {where}")
        return
    if endpoint.traffic != {state.current.deployment: TOTAL_PERCENT} or endpoint.mirror:
        mirror = f", mirrored to {say_split(endpoint.mirror)}" if endpoint.mirror else ""
        yield Concern(
            what=f"the last rollout left {state.current.deployment} with all traffic, now it is "
            f"{say_split(endpoint.traffic)}{mirror}",
            fix=f"llmops deploy {where} --version {state.current.version}",
        )


def _about_deployment(
    deployment: Deployment, endpoint: Endpoint, state: State, where: str, kept_since: float
) -> Iterator[Concern]:
    name = deployment.name
    if endpoint.traffic.get(name):
        if deployment.status != "healthy":
            what = f"{name} has traffic and is {deployment.status}: {deployment.message or 'no reason given'}"
            yield Concern(what=what, fix=f"llmops rollback {where}")
        return
    if state.underway and state.underway.target == name:
        return
    clean = f"llmops deploy {where} --clean"
    if not is_ours(deployment):
        yield Concern(what=f"{name} has no traffic and was made by someone else; it is left alone")
    elif failure := failure_of(deployment):
        yield Concern(what=f"{name} was turned back and is kept for diagnosis: {failure.reason}")
    elif state.previous and state.previous.deployment == name:
        retired = deployment.tags.get(RETIRED, "")
        if retired.isdecimal() and int(retired) <= kept_since:
            yield Concern(what=f"{name} is past the rollback window", fix=clean)
    elif not (state.current and state.current.deployment == name):
        yield Concern(what=f"{name} has no traffic and belongs to no rollout", fix=clean)
