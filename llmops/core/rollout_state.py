"""What a rollout leaves in the tags of an endpoint and its deployments: all that another driver needs to go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from llmops.core.endpoint import TOTAL_PERCENT, Deployment, Endpoint

Action = Literal["deploy", "promote", "rollback"]

EXPERIMENT = "llmops.experiment"
ROLLOUT = "llmops.rollout"
BEFORE = "llmops.rollout.before"
ROLLOUT_AT = "llmops.rollout.at"
ROLLOUT_BY = "llmops.rollout.by"
ROLLOUT_LINK = "llmops.rollout.link"
ROLLOUT_FAILED = "llmops.rollout.failed"
CURRENT = "llmops.current"
CURRENT_AT = "llmops.current.at"
CURRENT_BY = "llmops.current.by"
CURRENT_LINK = "llmops.current.link"
PREVIOUS = "llmops.previous"
ROLLED_BACK = "llmops.rolled-back"

VERSION = "llmops.version"
MADE_BY = "llmops.made-by"
PROBED = "llmops.probed"
EVALUATED = "llmops.evaluated"
VERDICT = "llmops.verdict"
RETIRED = "llmops.retired"
FAILED = "llmops.failed"
FAILED_AT = "llmops.failed.at"

MAX_TAG = 256
"""Characters of a tag's value. Source: Azure Resource Manager's limit on tags."""

_ROLLOUT_TAGS = (ROLLOUT, BEFORE, ROLLOUT_AT, ROLLOUT_BY, ROLLOUT_LINK, ROLLOUT_FAILED)
NO_ROLLOUT: Mapping[str, str | None] = dict.fromkeys(_ROLLOUT_TAGS)
"""Removes every trace of a rollout that is over."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a version was turned back.

    Attributes:
        exit_code: of the command that turned it back.
        reason: one sentence.
    """

    exit_code: int
    reason: str

    def __str__(self) -> str:
        return short(f"{self.exit_code} {self.reason}")


@dataclass(frozen=True, kw_only=True)
class Underway:
    """A rollout that has begun and is not over.

    Attributes:
        target: the deployment that is to have all traffic; version: what it serves.
        before: the split to return to; empty when nothing served.
        failure: set once it is on its way back.
    """

    id: str
    action: Action
    target: str
    version: str
    before: Mapping[str, int]
    at: str = ""
    by: str = ""
    link: str = ""
    failure: Failure | None = None


@dataclass(frozen=True, kw_only=True)
class Place:
    """A deployment and what it serves."""

    deployment: str
    version: str

    def __str__(self) -> str:
        return f"{self.deployment} {self.version}"


@dataclass(frozen=True, kw_only=True)
class State:
    """What the endpoint's tags say.

    Attributes:
        current: what the last rollout that ended well gave all traffic.
        previous: what had it before; None when there is nothing to return to.
        rolled_back: what the last rollout left, when that was a rollback.
    """

    experiment: str = ""
    underway: Underway | None = None
    current: Place | None = None
    current_at: str = ""
    current_by: str = ""
    current_link: str = ""
    previous: Place | None = None
    rolled_back: Place | None = None


def read_state(endpoint: Endpoint) -> State:
    """Read an endpoint's tags; what is not in the form that we write counts as absent."""
    tags = endpoint.tags
    return State(
        experiment=tags.get(EXPERIMENT, ""),
        underway=_read_underway(tags),
        current=_read_place(tags.get(CURRENT, "")),
        current_at=tags.get(CURRENT_AT, ""),
        current_by=tags.get(CURRENT_BY, ""),
        current_link=tags.get(CURRENT_LINK, ""),
        previous=_read_place(tags.get(PREVIOUS, "")),
        rolled_back=_read_place(tags.get(ROLLED_BACK, "")),
    )


def begin_tags(underway: Underway) -> dict[str, str | None]:
    """Write a rollout that begins."""
    head = f"{underway.id} {underway.action} {underway.target} {underway.version}"
    return {
        ROLLOUT: head,
        BEFORE: _write_split(underway.before),
        ROLLOUT_AT: underway.at,
        ROLLOUT_BY: short(underway.by) or None,
        ROLLOUT_LINK: short(underway.link) or None,
        ROLLOUT_FAILED: None,
    }


def failure_of(deployment: Deployment) -> Failure | None:
    """Read why a deployment was turned back; None when it was not."""
    return _read_failure(deployment.tags.get(FAILED, ""))


def is_ours(deployment: Deployment) -> bool:
    """Say whether a rollout made this deployment; others are never deleted."""
    return VERSION in deployment.tags


def is_proven(deployment: Deployment, tag: str) -> bool:
    """Say whether a proof (`PROBED` or `EVALUATED`) was given for the content that the deployment serves."""
    return deployment.tags.get(tag, "") == deployment.digest != ""


def short(text: str) -> str:
    """Cut a text to what a tag can hold, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_TAG else line[: MAX_TAG - 1] + "…"


def _read_underway(tags: Mapping[str, str]) -> Underway | None:
    head = tags.get(ROLLOUT, "").split(" ")
    if len(head) != 4 or head[1] not in ("deploy", "promote", "rollback"):
        return None
    identifier, action, target, version = head
    failed_id, _, failure = tags.get(ROLLOUT_FAILED, "").partition(" ")
    return Underway(
        id=identifier,
        action=action,  # type: ignore[arg-type]
        target=target,
        version=version,
        before=_read_split(tags.get(BEFORE, "")),
        at=tags.get(ROLLOUT_AT, ""),
        by=tags.get(ROLLOUT_BY, ""),
        link=tags.get(ROLLOUT_LINK, ""),
        failure=_read_failure(failure) if failed_id == identifier else None,
    )


def _read_place(text: str) -> Place | None:
    deployment, _, version = text.partition(" ")
    return Place(deployment=deployment, version=version) if deployment and version else None


def _read_failure(text: str) -> Failure | None:
    code, _, reason = text.partition(" ")
    return Failure(exit_code=int(code), reason=reason) if code.isdecimal() else None


def _write_split(split: Mapping[str, int]) -> str:
    return ",".join(f"{name}={percent}" for name, percent in sorted(split.items()))


def _read_split(text: str) -> dict[str, int]:
    pairs = [entry.partition("=") for entry in text.split(",") if entry]
    split = {name: int(percent) for name, _, percent in pairs if percent.isdecimal()}
    return split if sum(split.values()) == TOTAL_PERCENT else {}
