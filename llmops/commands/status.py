"""`llmops status`: what serves where, since when, by whom, with which verdict; and what is stuck."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace

from llmops.commands.context import Context
from llmops.commands.targets import Target, Tools, enter_delivery, target_of
from llmops.config.layers import Options, layer
from llmops.config.load import find_root, load_project, pick_experiments
from llmops.core.endpoint import Endpoint, Lease
from llmops.core.rollout_state import VERDICT, read_state
from llmops.core.rollout_status import Concern, find_concerns
from llmops.delivery.lease import retry
from llmops.errors import ExitCode, LlmopsError


@dataclass(frozen=True, kw_only=True)
class Serving:
    """One deployment that has traffic."""

    deployment: str
    version: str
    percent: int
    digest: str
    status: str
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Place:
    """One experiment in one environment.

    Attributes:
        serving: most traffic first; since, by, link: of the last rollout that ended well.
        lease: who changes it now; empty when nobody does.
        error: why it could not be looked at; empty when it could.
        exit_code: of that error.
    """

    experiment: str
    environment: str
    endpoint: str
    serving: Sequence[Serving] = ()
    since: str = ""
    by: str = ""
    link: str = ""
    lease: str = ""
    concerns: Sequence[Concern] = ()
    error: str = ""
    exit_code: int = 0


def status(
    *, context: Context, tools: Tools, experiment: str | None, environment: str | None, json_output: bool
) -> int:
    """Look at every endpoint of one or all experiments.

    Args:
        context: of the command.
        tools: the collaborators.
        experiment: all when None.
        environment: all when None.
        json_output: write one document instead of text.

    Returns:
        0, or the code of the first environment that could not be looked at.
    """
    project = load_project(find_root(context.folder))
    places = []
    for one in pick_experiments(project, [experiment] if experiment else []):
        for name in project.environments:
            if environment in (None, name):
                selection = layer(project, one.name, env=context.env, flags=Options(environment=name))
                places.append(_look(context, tools, target_of(project, selection)))
    if json_output:
        context.write(json.dumps({"places": [asdict(place) for place in places]}, indent=2))
    else:
        context.write("\n".join(_describe_all(places)))
    return next((place.exit_code for place in places if place.exit_code), int(ExitCode.PASS))


def _look(context: Context, tools: Tools, target: Target) -> Place:
    empty = Place(experiment=target.experiment.name, environment=target.environment.name, endpoint=target.endpoint)
    try:
        with ExitStack() as stack:
            endpoints = enter_delivery(stack, context, tools, target).endpoints
            observed = retry(lambda: endpoints.observe(target.endpoint), tools.clock)
            lease = retry(lambda: endpoints.read_lease(target.endpoint), tools.clock)
    except LlmopsError as error:
        return replace(empty, error=str(error), exit_code=int(error.exit_code))
    if observed is None:
        return empty
    return _place(target, observed, lease, tools.clock.now())


def _place(target: Target, observed: Endpoint, lease: Lease | None, now: float) -> Place:
    state = read_state(observed)
    concerns = find_concerns(
        observed,
        lease,
        experiment=target.experiment.name,
        environment=target.environment.name,
        window_s=target.environment.rollout.rollback_window_s,
        now=now,
    )
    return Place(
        experiment=target.experiment.name,
        environment=target.environment.name,
        endpoint=target.endpoint,
        serving=_serving(observed),
        since=state.current_at,
        by=state.current_by,
        link=state.current_link,
        lease=f"{lease.owner} {lease.link}".strip() if lease else "",
        concerns=concerns,
    )


def _serving(observed: Endpoint) -> list[Serving]:
    found = []
    for name, percent in sorted(observed.traffic.items(), key=lambda item: -item[1]):
        one = observed.deployments.get(name)
        found.append(
            Serving(
                deployment=name,
                version=one.version if one else "",
                percent=percent,
                digest=one.digest if one else "",
                status=one.status if one else "gone",
                verdict=one.tags.get(VERDICT, "") if one else "",
            )
        )
    return found


def _describe_all(places: Sequence[Place]) -> Iterator[str]:
    """Describe the places with something in them, and name the others in one line an experiment."""
    empty: dict[str, list[str]] = {}
    for place in places:
        if place.serving or place.since or place.lease or place.concerns or place.error:
            yield _describe(place)
        else:
            empty.setdefault(place.experiment, []).append(place.environment)
    for experiment, environments in empty.items():
        yield f"{experiment}: nothing serves in {', '.join(environments)}"


def _describe(place: Place) -> str:
    lines = [f"{place.experiment} in {place.environment} ({place.endpoint})"]
    if place.error:
        return "\n".join([*lines, f"  could not be looked at: {place.error}"])
    for one in place.serving:
        verdict = f", verdict {one.verdict}" if one.verdict else ""
        lines.append(f"  {one.percent:>3} % version {one.version} on {one.deployment}, {one.status}{verdict}")
    if not place.serving:
        lines.append("  nothing serves")
    if place.since:
        link = f" ({place.link})" if place.link else ""
        lines.append(f"  since {place.since}, by {place.by}{link}")
    if place.lease:
        lines.append(f"  being changed by {place.lease}")
    for concern in place.concerns:
        lines.append(f"  ! {concern.what}")
        if concern.fix:
            lines.append(f"    mend it: {concern.fix}")
    return "\n".join(lines)
