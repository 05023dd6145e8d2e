"""Does a version bring along what an environment asks for? Refusals name the command that would produce the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from llmops.config.layers import merge
from llmops.core.documents import to_json
from llmops.core.release_rules import Requires
from llmops.delivery.package import Package
from llmops.errors import Problem
from llmops.records import VerdictRecord

_OVERLAYS = ("variants", "nodes", "init", "python")


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What is known besides the package.

    Attributes:
        experiment: that is to be deployed; environment: where to.
        now: seconds since the epoch.
        datasets: data set name to the digest of its data as it is now.
        overrides: what the environment sets of the experiment.
        approvals: people who approved, as the host recorded them.
        baked_s: seconds for which the version has had all traffic where it is promoted from; None for a deploy.
    """

    experiment: str
    environment: str
    now: float
    datasets: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    approvals: Sequence[str] = ()
    baked_s: float | None = None


def find_missing(requires: Requires, package: Package, here: Circumstances) -> list[Problem]:
    """List what a version lacks to serve in an environment.

    A verdict counts when its gate passed, it is about this very content (the package's verification saw to that), and
    it is young enough. What the environment lays over the flow must be what the version was judged with. Approvals and
    bake time are asked for at promotions alone.
    """
    where = f"{package.manifest.model} in environment '{here.environment}'"
    fresh = [one for one in package.verdicts if _is_young(one, requires.max_age_s, here.now)]
    passed = [one for one in fresh if one.exit_code == 0]
    problems = []
    if requires.verdict and not any(one.experiment == here.experiment for one in passed):
        problems.append(_no_verdict(requires, package, here, where))
    for gate in requires.gates:
        if not any(one.experiment == gate for one in passed):
            fix = f"{_produce(gate)}, then llmops register {here.experiment}"
            problems.append(Problem(what=f"the gate of '{gate}' has not passed for this content", where=where, fix=fix))
    for name in requires.datasets:
        problems += _missing_dataset(name, passed, here, where)
    problems += _contradictions(package, here, where)
    if here.baked_s is not None:
        problems += _missing_patience(requires, here, where)
    return problems


def _no_verdict(requires: Requires, package: Package, here: Circumstances, where: str) -> Problem:
    reason = package.manifest.without_verdict
    found = f"registered without one: {reason}" if reason else ""
    if any(one.experiment == here.experiment for one in package.verdicts):
        found = (
            f"none that passed and is younger than {requires.max_age_s:g} s" if requires.max_age_s else "none passed"
        )
    fix = f"{_produce(here.experiment)}, then llmops register {here.experiment}"
    return Problem(what="no passing verdict that counts", where=where, found=found, fix=fix)


def _missing_dataset(name: str, passed: Sequence[VerdictRecord], here: Circumstances, where: str) -> list[Problem]:
    wanted = here.datasets.get(name)
    if wanted is None:
        return [Problem(what=f"no data set '{name}'", where=where, fix="Name data sets of the experiment.")]
    seen = [one.candidate.run.dataset for one in passed if one.candidate.run.dataset.name == name]
    if any(one.digest == wanted for one in seen):
        return []
    fix = f"{_produce(here.experiment)} --dataset {name}, then llmops register {here.experiment}"
    found = "a verdict over older data" if seen else ""
    return [Problem(what=f"no passing verdict over the data set '{name}'", where=where, found=found, fix=fix)]


def _contradictions(package: Package, here: Circumstances, where: str) -> list[Problem]:
    judged = to_json(package.manifest.flow)
    fix = f"{_produce(here.experiment)} --environment {here.environment}, then llmops register {here.experiment}"
    return [
        Problem(
            what=f"the environment lays other {key} over the flow than this version was judged with",
            where=where,
            found=json.dumps(here.overrides[key], sort_keys=True),
            expected=json.dumps(judged[key], sort_keys=True),
            fix=f"{fix}, or remove it from the environment's `overrides`.",
        )
        for key in _OVERLAYS
        if key in here.overrides and merge(judged[key], here.overrides[key]) != judged[key]
    ]


def _missing_patience(requires: Requires, here: Circumstances, where: str) -> list[Problem]:
    problems = []
    approvals = len({name.strip().lower() for name in here.approvals if name.strip()})
    if approvals < requires.approvals:
        fix = "Ask for them in the CI system's environment, or name who approved: --approved-by NAME."
        found, expected = f"{approvals}", f"{requires.approvals}"
        problems.append(Problem(what="not enough approvals", where=where, found=found, expected=expected, fix=fix))
    baked_s = here.baked_s or 0.0
    if baked_s < requires.min_bake_s:
        problems.append(
            Problem(
                what="it has not served long enough where it comes from",
                where=where,
                found=f"{baked_s:.0f} s",
                expected=f"{requires.min_bake_s:.0f} s with all traffic",
                fix=f"Run the same command again in {requires.min_bake_s - baked_s:.0f} s.",
            )
        )
    return problems


def _produce(experiment: str) -> str:
    return f"Run: llmops check {experiment}"


def _is_young(verdict: VerdictRecord, max_age_s: float | None, now: float) -> bool:
    if max_age_s is None:
        return True
    return now - datetime.fromisoformat(verdict.created_at.replace("Z", "+00:00")).timestamp() <= max_age_s
