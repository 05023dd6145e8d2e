"""What an endpoint looks like from outside: the values that a backend observes and a rollout is planned from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from llmops.errors import UsageError

DeploymentStatus = Literal["creating", "healthy", "unhealthy", "failed", "deleting"]
"""creating: may become healthy; unhealthy: was created, does not answer; failed: will never become healthy."""

TOTAL_PERCENT = 100
NAME_PATTERN = "^[a-z](?:[a-z0-9]|-(?=[a-z0-9])){2,31}$"
"""Names of endpoints and deployments: what Azure Machine Learning allows, in lower case, so that they fit anywhere."""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """One deployment as observed.

    Attributes:
        model, version: of the registry.
        digest: of the model's content, as the process that serves was given it.
        message: why it is not healthy, one sentence; empty when it is or when nobody knows yet.
        tags: what drivers wrote there; short texts.
    """

    name: str
    model: str
    version: str
    digest: str
    status: DeploymentStatus
    message: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One endpoint as observed, all at one moment.

    Attributes:
        traffic: deployment to whole percent; entries of 0 are left out; sums to 0 or 100.
        mirror: deployment to whole percent of requests that are copied to it, its answers thrown away; at most one
            entry.
        tags: what drivers wrote there; short texts.
        deployments: by name, those without traffic too.
    """

    name: str
    traffic: Mapping[str, int] = field(default_factory=dict)
    mirror: Mapping[str, int] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    deployments: Mapping[str, Deployment] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Window:
    """What one deployment did with the live requests that came in a span of time.

    Requests that were copied to it by mirroring count; requests that were addressed to it past the split do not.

    Attributes:
        requests: that were answered or given up, by the time of asking.
        errors: of these, answers of 500 and above, requests that got no answer, and answers in which the flow itself
            failed, as far as the backend can tell.
        latency_s: percentile (50, 95, 99) to seconds, nearest rank, over all requests; those that still wait count with
            the time that they have waited where that makes it longer. Empty without requests.
        waiting_s: of each request that has no answer yet, the seconds that it has waited; they are not in `requests`.
            Empty where the backend cannot tell.
    """

    requests: int = 0
    errors: int = 0
    latency_s: Mapping[int, float] = field(default_factory=dict)
    waiting_s: Sequence[float] = ()


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to change one endpoint.

    Attributes:
        token: names the driver that holds it; never reused.
        owner: who, for people, for instance `ana@build-7, process 4711`.
        link: the run in the CI system; empty on a laptop.
        expires_at: seconds since the epoch by the backend's clock; from then on anybody can take it.
    """

    endpoint: str
    token: str
    owner: str
    link: str = ""
    expires_at: float


def is_valid_split(traffic: Mapping[str, int]) -> bool:
    """Say whether percents are what an endpoint accepts: whole, not negative, sum 0 or 100."""
    whole = all(type(percent) is int and 0 <= percent <= TOTAL_PERCENT for percent in traffic.values())
    return whole and sum(traffic.values()) in (0, TOTAL_PERCENT)


def require_name(name: str) -> str:
    """Return a name for an endpoint or a deployment.

    Raises:
        UsageError: it is none.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise UsageError.of(
            "not a name for an endpoint or a deployment",
            found=f"'{name}'",
            expected="3 to 32 lower-case letters, digits and single hyphens, a letter first, no hyphen last",
        )
    return name


def require_split(
    endpoint: str, traffic: Mapping[str, int] | None, mirror: Mapping[str, int] | None, *, most: int = TOTAL_PERCENT
) -> None:
    """Refuse what is no traffic split or no mirror.

    Args:
        endpoint: for messages.
        traffic: None when it is not to change; so for the mirror.
        mirror: nothing, or one deployment.
        most: percent that can be mirrored.

    Raises:
        UsageError: it is none.
    """
    if traffic is not None and not is_valid_split(traffic):
        raise UsageError.of(
            "not a traffic split",
            where=f"endpoint '{endpoint}'",
            found=str(dict(traffic)),
            expected="whole percents with the sum 0 or 100",
        )
    if mirror is not None and (len(mirror) > 1 or not all(type(p) is int and 0 < p <= most for p in mirror.values())):
        raise UsageError.of(
            "not a mirror",
            where=f"endpoint '{endpoint}'",
            found=str(dict(mirror)),
            expected=f"nothing, or one deployment with 1 to {most} percent",
        )
