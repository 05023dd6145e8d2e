"""`llmops promote`: give an environment the very version that serves in another, if its evidence is good enough."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from llmops.backends.registry import Delivery
from llmops.commands.context import Context
from llmops.commands.host_report import add_summaries, set_outputs
from llmops.commands.releasing import Release, build_judge
from llmops.commands.targets import Target, Tools, dataset_digests, enter_delivery, find_target
from llmops.core.endpoint import TOTAL_PERCENT, Deployment, Endpoint
from llmops.core.release_rules import Strategy
from llmops.core.rollout_state import read_state
from llmops.core.rollout_steps import say_split
from llmops.delivery.evidence import Circumstances, find_missing
from llmops.delivery.evidence_pack import Candidate, write_pack
from llmops.delivery.lease import retry
from llmops.delivery.package import MANIFEST, Package, evidence_of, load_package
from llmops.errors import ExitCode, Problem, UsageError
from llmops.hosts.detect import NONE
from llmops.hosts.identity import identify
from llmops.releases import ModelRecord


class _Serving(NamedTuple):
    """What serves in the environment to promote from."""

    target: Target
    endpoint: Endpoint
    deployment: Deployment
    model: ModelRecord
    package: Package


def promote(
    *,
    context: Context,
    tools: Tools,
    experiment: str,
    source: str,
    to: str,
    version: str | None,
    approvals: Sequence[str],
    attested_by: str | None,
    evidence: Path | None,
    strategy: Strategy | None,
    json_output: bool,
) -> int:
    """Promote the version that has all traffic in one environment to another.

    Args:
        context: of the command.
        tools: the collaborators.
        experiment: names the model and the endpoints.
        source: environment to promote from.
        to: environment to promote to.
        version: the one that must serve in `source`, because it is the one that was approved; any when None.
        approvals: who approved, beside those whom the CI system names.
        attested_by: workflow that must have attested the package; none when None.
        evidence: folder for the evidence pack; then nothing is promoted.
        strategy: the environment's when None.
        json_output: write the rollout's record.

    Returns:
        As `deploy`; with `evidence` 0, also when something is missing still: the pack says so.

    Raises:
        UsageError: no single version serves there, it is not what was registered, or evidence is missing.
        LeaseHeldError: someone else is changing the endpoint.
    """
    target = find_target(context, experiment, to)
    if evidence is None:
        approvals = [*approvals, *_recorded_approvals(context, to)]
    with ExitStack() as stack:
        serving = _find_serving(stack, context, tools, find_target(context, experiment, source), version)
        delivery = enter_delivery(stack, context, tools, target)
        missing = [*_find_missing(tools, serving, target, approvals), *_unattested(context, serving, attested_by)]
        if evidence is not None:
            return _write_evidence(context, tools, serving, target, delivery, missing, evidence)
        if missing:
            raise UsageError(*missing)
        model, package = _copy(context, tools, delivery, serving)
        release = Release(context=context, tools=tools, target=target, delivery=delivery)
        release.require_ready(model, package)
        wanted = release.want("promote", model, strategy)
        judge = build_judge(release, package, stack)
        result = release.driver(judge, lambda _: (model, package)).release(wanted)
        quiet = f"{target.endpoint}: version {model.version} has all traffic already."
        return release.conclude(wanted, result, json_output=json_output, quiet=quiet, approvals=approvals)


def _unattested(context: Context, serving: _Serving, workflow: str | None) -> Sequence[Problem]:
    if workflow is None:
        return ()
    from llmops.hosts.attestation import find_unattested

    problem = find_unattested(serving.package.folder / MANIFEST, workflow=workflow, env=context.env)
    return [problem] if problem else ()


def _recorded_approvals(context: Context, environment: str) -> Sequence[str]:
    if context.host is NONE:
        return ()
    from llmops.hosts.approvals import find_approvals

    return find_approvals(context.env, environment)


def _find_serving(stack: ExitStack, context: Context, tools: Tools, target: Target, version: str | None) -> _Serving:
    delivery = enter_delivery(stack, context, tools, target)
    endpoint = retry(lambda: delivery.endpoints.observe(target.endpoint), tools.clock)
    deployment = _only_one(endpoint, target)
    if version not in (None, deployment.version):
        raise UsageError.of(
            f"version {version} is not what serves in environment '{target.environment.name}'",
            where=f"{target.endpoint}/{deployment.name}",
            found=f"version {deployment.version} with all traffic",
            fix=f"See what serves now: llmops promote {target.experiment.name} --from {target.environment.name} "
            "--to ENVIRONMENT --evidence DIR.",
        )
    model = retry(lambda: delivery.registry.find(target.experiment.name, deployment.version), tools.clock)
    if endpoint is None or model is None or model.digest != deployment.digest:
        raise UsageError.of(
            "what serves is not what is registered",
            where=f"{target.endpoint}/{deployment.name}",
            found=deployment.digest,
            expected=f"{model.digest}, version {model.version}" if model else f"a version {deployment.version}",
            fix=f"Run: llmops deploy {target.experiment.name} --environment {target.environment.name}",
        )
    package = retry(lambda: load_package(delivery.registry, model), tools.clock)
    return _Serving(target, endpoint, deployment, model, package)


def _only_one(endpoint: Endpoint | None, target: Target) -> Deployment:
    """Return the deployment that has all traffic, outside of any rollout."""
    fix = f"Run: llmops status {target.experiment.name}"
    if endpoint is None or not endpoint.traffic:
        raise UsageError.of(
            f"nothing serves in environment '{target.environment.name}'", where=target.endpoint, fix=fix
        )
    state = read_state(endpoint)
    name, percent = max(endpoint.traffic.items(), key=lambda item: item[1])
    deployment = endpoint.deployments.get(name)
    if percent != TOTAL_PERCENT or state.underway or deployment is None or deployment.status != "healthy":
        raise UsageError.of(
            f"no single healthy version serves in environment '{target.environment.name}'",
            where=target.endpoint,
            found=say_split(endpoint.traffic) + (", a rollout is not over" if state.underway else ""),
            fix=fix,
        )
    return deployment


def _find_missing(tools: Tools, serving: _Serving, target: Target, approvals: Sequence[str]) -> list[Problem]:
    since = read_state(serving.endpoint).current_at
    started = datetime.fromisoformat(since.replace("Z", "+00:00")).timestamp() if since else tools.clock.now()
    here = Circumstances(
        experiment=target.experiment.name,
        environment=target.environment.name,
        now=tools.clock.now(),
        datasets=dataset_digests(target),
        overrides=target.environment.overrides.get(target.experiment.name, {}),
        approvals=approvals,
        baked_s=max(0.0, tools.clock.now() - started),
    )
    return find_missing(target.environment.requires, serving.package, here)


def _copy(context: Context, tools: Tools, delivery: Delivery, serving: _Serving) -> tuple[ModelRecord, Package]:
    """Bring the version, with all that speaks for it, into the other registry, which may be the same one; verify it."""
    who = identify(context.env)
    created_by = f"{who.name} {who.link}".strip()
    model, registry = serving.model, delivery.registry
    there = retry(
        lambda: registry.register(serving.package.folder, name=model.name, digest=model.digest, created_by=created_by),
        tools.clock,
    )
    for proof in serving.package.later:
        evidence = evidence_of(proof)
        if evidence not in there.evidence:
            there = retry(
                lambda there=there, evidence=evidence, proof=proof: registry.add_evidence(  # type: ignore[misc]
                    there, evidence, proof.content
                ),
                tools.clock,
            )
    return there, retry(lambda: load_package(registry, there), tools.clock)


def _write_evidence(
    context: Context,
    tools: Tools,
    serving: _Serving,
    target: Target,
    delivery: Delivery,
    missing: Sequence[Problem],
    folder: Path,
) -> int:
    observed = retry(lambda: delivery.endpoints.observe(target.endpoint), tools.clock)
    who = identify(context.env)
    state = read_state(serving.endpoint)
    candidate = Candidate(
        model=serving.model,
        package=serving.package,
        source=serving.target.environment.name,
        deployment=serving.deployment,
        serving_since=state.current_at,
        serving_by=f"{state.current_by} {state.current_link}".strip(),
    )
    production = _production(delivery, tools, target, observed)
    asked_by = f"{who.name} {who.link}".strip()
    path = write_pack(
        folder, candidate, production, environment=target.environment.name, missing=missing, asked_by=asked_by
    )
    set_outputs(context, {"version": serving.model.version, "digest": serving.model.digest})
    add_summaries(context, [path])
    context.write(f"{path}: {'ready to be promoted' if not missing else f'{len(missing)} things are missing'}")
    return ExitCode.PASS


def _production(delivery: Delivery, tools: Tools, target: Target, observed: Endpoint | None) -> Package | None:
    """Return the package of what serves now; None when nothing does or when it is no registered version."""
    if observed is None or not observed.traffic:
        return None
    deployment = observed.deployments[max(observed.traffic, key=lambda name: observed.traffic[name])]
    model = retry(lambda: delivery.registry.find(target.experiment.name, deployment.version), tools.clock)
    if model is None or model.digest != deployment.digest:
        return None
    return retry(lambda: load_package(delivery.registry, model), tools.clock)
