"""`llmops deploy`: give a registered version all traffic of an environment's endpoint, step by step and with proof."""

from __future__ import annotations

import json
from contextlib import ExitStack

from llmops.commands.context import Context
from llmops.commands.releasing import Release, build_judge, describe_plan, plan_to_json
from llmops.commands.targets import Tools, dataset_digests, enter_delivery, find_model, find_target
from llmops.core.release_rules import Strategy
from llmops.core.rollout import Wanted, plan_release
from llmops.delivery.evidence import Circumstances, find_missing
from llmops.delivery.lease import retry
from llmops.delivery.package import load_package
from llmops.errors import ExitCode, UsageError


def deploy(
    *,
    context: Context,
    tools: Tools,
    experiment: str,
    environment: str | None,
    version: str | None,
    strategy: Strategy | None,
    dry_run: bool,
    clean: bool,
    json_output: bool,
) -> int:
    """Deploy a version; run again, it goes on where it stopped, and changes nothing when it is done.

    Args:
        context: of the command.
        tools: the collaborators.
        experiment: names the model and the endpoint.
        environment: where to; None for the experiment's own.
        version: the newest when None.
        strategy: the environment's when None.
        dry_run: show the plan and change nothing.
        clean: only delete deployments that are due.
        json_output: write the rollout's record, or the plan.

    Returns:
        0 done, 10 or 11 turned back by a check, 4 or 5 when the backend gave up or time ran out.

    Raises:
        UsageError: the version is not what was registered, or lacks what the environment asks for.
        LeaseHeldError: someone else is changing the endpoint.
    """
    target = find_target(context, experiment, environment)
    with ExitStack() as stack:
        delivery = enter_delivery(stack, context, tools, target)
        release = Release(context=context, tools=tools, target=target, delivery=delivery)
        model = find_model(delivery, tools.clock, experiment, version)
        package = retry(lambda: load_package(delivery.registry, model), tools.clock)
        wanted = release.want("deploy", model, strategy)
        if clean:
            result = release.driver(build_judge(release, package, stack), lambda _: (model, package)).clean_up(wanted)
            return release.conclude(wanted, result, json_output=json_output, quiet="Nothing is due to be deleted.")
        here = Circumstances(
            experiment=experiment,
            environment=target.environment.name,
            now=tools.clock.now(),
            datasets=dataset_digests(target),
            overrides=target.environment.overrides.get(experiment, {}),
        )
        if missing := find_missing(target.environment.requires, package, here):
            raise UsageError(*missing)
        release.require_ready(model, package)
        if dry_run:
            return _show_plan(release, wanted, json_output=json_output)
        judge = build_judge(release, package, stack)
        result = release.driver(judge, lambda _: (model, package)).release(wanted)
        quiet = f"{target.endpoint}: version {model.version} has all traffic already."
        return release.conclude(wanted, result, json_output=json_output, quiet=quiet)


def _show_plan(release: Release, wanted: Wanted, *, json_output: bool) -> int:
    observed = retry(lambda: release.delivery.endpoints.observe(wanted.endpoint), release.tools.clock)
    plan = plan_release(observed, wanted, now=release.tools.clock.now())
    traffic = observed.traffic if observed else {}
    text = json.dumps(plan_to_json(plan, wanted), indent=2) if json_output else describe_plan(plan, wanted, traffic)
    release.context.write(text)
    return ExitCode.PASS
