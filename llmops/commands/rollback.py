"""`llmops rollback`: return to what served before the last rollout, or to a version."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from llmops.commands.context import Context
from llmops.commands.releasing import LateJudge, Release, VersionJudge, build_judge
from llmops.commands.targets import Target, Tools, enter_delivery, find_model, find_target
from llmops.core.rollout import RollbackChoice
from llmops.delivery.lease import retry
from llmops.delivery.package import Package, load_package
from llmops.errors import UsageError
from llmops.releases import ModelRecord


def rollback(
    *,
    context: Context,
    tools: Tools,
    experiment: str,
    environment: str | None,
    to: str | None,
    reason: str,
    json_output: bool,
) -> int:
    """Roll back; a rollout that is under way, or died, is ended and its traffic returned.

    The previous deployment takes all traffic at once when it is still there and healthy; else its version is deployed
    again from the registry, verified and probed.

    Args:
        context: of the command.
        tools: the collaborators.
        experiment: names the model and the endpoint.
        environment: where; None for the experiment's own.
        to: a version; None for what served before.
        reason: why, for the record.
        json_output: write the rollout's record.

    Raises:
        UsageError: there is nothing to return to.
        LeaseHeldError: someone else is changing the endpoint.
    """
    target = find_target(context, experiment, environment)
    with ExitStack() as stack:
        delivery = enter_delivery(stack, context, tools, target)
        release = Release(context=context, tools=tools, target=target, delivery=delivery)
        found: dict[str, tuple[ModelRecord, Package]] = {}

        def find(version: str) -> tuple[ModelRecord, Package]:
            if version not in found:
                model = find_model(delivery, tools.clock, experiment, version)
                found[version] = (model, retry(lambda: load_package(delivery.registry, model), tools.clock))
            return found[version]

        def build() -> VersionJudge:
            return build_judge(release, next(iter(found.values()))[1], stack)

        wanted = release.want("rollback", None)
        driver = release.driver(LateJudge(build), find)
        choice, result = driver.roll_back(wanted, to, lambda version: find(version)[0].digest, reason)
        if choice.kind == "nothing":
            raise _nothing(target)
        result.reason = result.reason or reason
        wanted = replace(wanted, version=choice.place.version if choice.place else "")
        return release.conclude(wanted, result, json_output=json_output, quiet=_already(target, choice, to))


def _nothing(target: Target) -> UsageError:
    return UsageError.of(
        "there is nothing to return to",
        where=target.endpoint,
        found="no rollout left a previous version",
        fix="Name a version: --to VERSION; see `llmops models list`.",
    )


def _already(target: Target, choice: RollbackChoice, to: str | None) -> str:
    if to is not None:
        return f"{target.endpoint}: version {to} has all traffic already."
    serving = f"; {choice.place.deployment} (version {choice.place.version}) serves" if choice.place else ""
    return (
        f"{target.endpoint}: the last rollout was turned back already{serving}.\n"
        "To go further back, name a version: --to VERSION."
    )
