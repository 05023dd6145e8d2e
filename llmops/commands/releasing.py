"""What deploy, promote and roll back share: from a verified version to a rollout and its record."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from llmops.backends.protocols import DeploymentRequest, Progress, Runs
from llmops.backends.registry import Delivery, open_runs
from llmops.commands.context import Context
from llmops.commands.preparation import Prepared, prepare
from llmops.commands.run_requests import evaluation_requests
from llmops.commands.targets import Target, Tools
from llmops.config.connections import ResolvedConnection, resolve_connections
from llmops.config.layers import Options, layer
from llmops.core.documents import to_json
from llmops.core.release_rules import Strategy
from llmops.core.rollout import Plan, Wanted
from llmops.core.rollout_checks import Judgement
from llmops.core.rollout_state import Action
from llmops.core.rollout_steps import say_split
from llmops.delivery.driver import Driver, Judge, Result
from llmops.delivery.endpoint_judge import EndpointJudge
from llmops.delivery.lease import retry
from llmops.delivery.live_scores import LiveScorer, check_rules
from llmops.delivery.package import Package
from llmops.engine.gateway.settings import ModelUse
from llmops.errors import LlmopsError, UsageError
from llmops.flows.folder import connections_in_use, read_flow_in
from llmops.flows.tree import WorkingTree
from llmops.hosts.identity import identify
from llmops.records import Line, RunRecord, write_record
from llmops.releases import ModelRecord, RolloutRecord


@dataclass(frozen=True, kw_only=True)
class Release:
    """One version on its way to one endpoint."""

    context: Context
    tools: Tools
    target: Target
    delivery: Delivery

    def want(self, action: Action, model: ModelRecord | None, strategy: Strategy | None = None) -> Wanted:
        """Say what is wanted; without a model the version is left open, as a roll back does."""
        rules = self.target.environment.rollout
        who = identify(self.context.env)
        version = model.version if model else ""
        return Wanted(
            id=f"{action}-{uuid.uuid4().hex[:12]}",
            action=action,
            endpoint=self.target.endpoint,
            experiment=self.target.experiment.name,
            version=version,
            digest=model.digest if model else "",
            rules=rules,
            strategy=strategy or rules.strategy,
            evaluate=rules.evaluate,
            at=self.now(),
            by=who.name,
            link=who.link,
        )

    def now(self) -> str:
        """Return the time in ISO 8601, UTC."""
        return datetime.fromtimestamp(self.tools.clock.now(), timezone.utc).isoformat(timespec="seconds")

    def driver(self, judge: Judge, find: Callable[[str], tuple[ModelRecord, Package]]) -> Driver:
        """Build the driver.

        Args:
            judge: of the endpoint's deployments.
            find: version to its record and verified package; asked when a deployment is made.
        """
        who = identify(self.context.env)

        def request(name: str, tags: Mapping[str, str]) -> DeploymentRequest:
            model, package = find(tags["llmops.version"])
            return self._request(name, tags, model, package)

        return Driver(
            endpoints=self.delivery.endpoints,
            clock=self.tools.clock,
            judge=judge,
            request=request,
            owner=who.name if who.link else f"{who.name}, process {os.getpid()}",
            link=who.link,
            say=self.context.say,
        )

    def require_ready(self, model: ModelRecord, package: Package) -> None:
        """Refuse to begin what cannot end well, as far as the backend can see before anything is made.

        Raises:
            UsageError: every obstacle.
        """
        request = self._request("preflight", {}, model, package)
        obstacles = retry(
            lambda: self.delivery.endpoints.find_obstacles(self.target.endpoint, request), self.tools.clock
        )
        if obstacles:
            raise UsageError(*obstacles)

    def conclude(
        self, wanted: Wanted, result: Result, *, json_output: bool, quiet: str = "", approvals: Sequence[str] = ()
    ) -> int:
        """Write the record of a rollout, say how it went, and return the exit code.

        Args:
            wanted: what was to be reached.
            result: how it went.
            json_output: write the record instead of a sentence.
            quiet: the sentence for a rollout that had nothing to do.
            approvals: who approved.
        """
        record = replace(_record(wanted, result, self.target, self.now()), approvals=approvals)
        if result.steps:
            write_record(self.target.project.state / "rollouts" / f"{record.id}.json", record)
        if json_output:
            self.context.write(json.dumps(to_json(record), indent=2))
        else:
            is_quiet = bool(quiet) and not result.steps and result.outcome == "done"
            self.context.write(quiet if is_quiet else self._say(record))
        return record.exit_code

    def _request(self, name: str, tags: Mapping[str, str], model: ModelRecord, package: Package) -> DeploymentRequest:
        return DeploymentRequest(
            name=name,
            model=model,
            package=package.folder,
            connections=find_connections(self.target, package, self.context.env),
            environment_variables=environment_variables_of(self.target, package),
            tags=tags,
            settings=self.target.environment.serving,
            capture_percent=self.target.environment.rollout.live_scores.capture_percent,
        )

    def _say(self, record: RolloutRecord) -> str:
        place = f"{record.endpoint} (environment '{record.environment}')"
        where = f"{record.experiment} --environment {record.environment}"
        if record.outcome == "done" and record.action == "rollback" and not record.version:
            return f"{place}: the rollout that was under way is ended, and the traffic is back where it was"
        if record.outcome == "done":
            text = f"{place}: version {record.version} has all traffic" if record.version else f"{place}: done"
            return f"{text}, on deployment {record.deployment}" if record.deployment else text
        if record.outcome == "returned":
            seen = f" It had seen {record.requests} live requests." if record.requests else ""
            back = f"the traffic is back where it was, on {record.previous}" if record.previous else "nothing serves"
            return f"{place}: version {record.version} was turned back; {back}.\n  {record.reason}.{seen}"
        again = f"llmops {record.action} {where}"
        again += f" --version {record.version}" if record.action == "deploy" else ""
        return f"{place}: stopped; the last split stands.\n  {record.reason}\nNext: {again}, or llmops status"


def find_connections(target: Target, package: Package, env: Mapping[str, str]) -> Mapping[str, ResolvedConnection]:
    """Resolve the connections that the packaged flow uses.

    Raises:
        UsageError: the environment lacks one, or a secret's variable is not set.
    """
    manifest = package.manifest
    root = package.folder / manifest.project
    flow = read_flow_in(WorkingTree(root, top=package.folder), manifest.source)
    ref, variables = manifest.flow, environment_variables_of(target, package)
    known = target.environment.connections
    uses = connections_in_use(flow, ref.variants, nodes=ref.nodes, init=ref.init, variables=variables, known=known)
    names = sorted({use.name for use in uses})
    missing = [name for name in names if name not in target.environment.connections]
    if missing:
        raise UsageError.of(
            f"the environment '{target.environment.name}' lacks a connection that version uses",
            found=", ".join(missing),
            expected=", ".join(target.environment.connections) or "a connection in the environment's file",
        )
    return resolve_connections({name: target.environment.connections[name] for name in names}, env)


def environment_variables_of(target: Target, package: Package) -> Mapping[str, str]:
    """Return the variables that a version serves with: the environment's, and those that it was judged with.

    Raises:
        UsageError: the experiment no longer sets one of those.
    """
    wanted, known = package.manifest.flow.environment_variables, target.experiment.environment_variables
    if missing := [name for name in wanted if name not in known]:
        raise UsageError.of(
            "the experiment no longer sets an environment variable that this version was judged with",
            where=f"{target.experiment.name} in environment '{target.environment.name}'",
            found=", ".join(missing),
            fix="Set it in the experiment's `environment_variables`, or in the environment's `overrides`.",
        )
    return {**target.environment.environment_variables, **{name: known[name] for name in wanted}}


def build_judge(release: Release, package: Package, stack: ExitStack) -> VersionJudge:
    """Build the judge of a version's deployments, from the experiment's own data, evaluators and gate.

    Raises:
        UsageError: the experiment is not ready to be evaluated.
    """
    target, context = release.target, release.context
    flags = Options(environment=target.environment.name, dataset=target.environment.rollout.evaluate_dataset or None)
    selection = layer(target.project, target.experiment.name, env=context.env, flags=flags)
    prepared = prepare(target.project, selection, context.env)
    rules = target.environment.rollout.live_scores
    flows = {name: source.flow for name, source in prepared.evaluators.items()}
    where = f"environment '{target.environment.name}'"
    check_rules(rules, prepared.experiment, flows, package.manifest, where=where)
    judge = judge_of(release, package, prepared, stack)
    return VersionJudge(endpoint=judge, live=LiveScorer(judge=judge, rules=rules))


def judge_of(
    release: Release, package: Package, prepared: Prepared, stack: ExitStack, use: ModelUse | None = None
) -> EndpointJudge:
    """Build the judge of a version's deployments from an experiment that is ready to run.

    Args:
        use: what the evaluators do with models beyond calling them.

    Raises:
        UsageError: the environment lacks a connection of the version.
    """
    target, context = release.target, release.context
    scorer = _Scorer(release=release, prepared=prepared, stack=stack, use=use or ModelUse())
    return EndpointJudge(
        endpoints=release.delivery.endpoints,
        endpoint=target.endpoint,
        clock=release.tools.clock,
        state=target.project.state,
        manifest=package.manifest,
        experiment=prepared.experiment,
        environment=target.environment.name,
        dataset=prepared.dataset,
        data=prepared.data,
        connections=find_connections(target, package, context.env),
        score=scorer.score,
        read_lines=scorer.lines,
    )


@dataclass
class _Scorer:
    """Scores the lines of a run by the experiment's evaluators; opens what it needs when it is first asked."""

    release: Release
    prepared: Prepared
    stack: ExitStack
    use: ModelUse
    _runs: Runs | None = None

    def score(
        self, run: RunRecord, rows: Path, evaluators: Collection[str], keep: Callable[[], None]
    ) -> Mapping[str, RunRecord]:
        """See `Score`."""
        chosen = {name: source for name, source in self.prepared.evaluators.items() if name in evaluators}
        prepared = replace(self.prepared, dataset=run.dataset, data=rows, evaluators=chosen)
        requests = evaluation_requests(prepared, run, label="")
        outcomes = self._open().run(list(requests.values()), _Keeping(self.release.context.progress, keep))
        self.release.context.progress.close()
        return {name: _required(outcome) for name, outcome in zip(requests, outcomes, strict=True)}

    def lines(self, run: RunRecord) -> Iterator[Line]:
        return self._open().lines(run)

    def _open(self) -> Runs:
        if self._runs is None:
            context, target = self.release.context, self.release.target
            runs = open_runs(self.prepared.environment, target.project.state, context.env, context.say, self.use)
            self._runs = self.stack.enter_context(runs)
        return self._runs


@dataclass(frozen=True)
class _Keeping:
    """Progress that also keeps the rollout's lease: evaluators may take longer than it lasts."""

    shown: Progress
    keep: Callable[[], None]

    def update(self, label: str, *, done: int, total: int, failed: int = 0, unmeasured: int = 0) -> None:
        """See `Progress.update`."""
        self.keep()
        self.shown.update(label, done=done, total=total, failed=failed, unmeasured=unmeasured)

    def close(self) -> None:
        """See `Progress.close`."""
        self.shown.close()


@dataclass(frozen=True, kw_only=True)
class VersionJudge:
    """`Judge` of one version's deployments on one endpoint."""

    endpoint: EndpointJudge
    live: LiveScorer

    def probe(self, deployment: str, rows: int) -> Judgement:
        """See `Judge.probe`."""
        return self.endpoint.probe(deployment, rows)

    def evaluate(self, deployment: str, dataset: str, keep: Callable[[], None]) -> Judgement:
        """See `Judge.evaluate`."""
        return self.endpoint.evaluate(deployment, dataset, keep)

    def score_live(
        self, deployment: str, previous: str, start: float, end: float, keep: Callable[[], None]
    ) -> Judgement:
        """See `Judge.score_live`."""
        return self.live.score(deployment, previous, start, end, keep)


@dataclass(frozen=True)
class LateJudge:
    """A judge that is built when it is first asked; a roll back mostly needs none."""

    build: Callable[[], VersionJudge]

    def probe(self, deployment: str, rows: int) -> Judgement:
        """See `Judge.probe`."""
        return self.build().probe(deployment, rows)

    def evaluate(self, deployment: str, dataset: str, keep: Callable[[], None]) -> Judgement:
        """See `Judge.evaluate`."""
        return self.build().evaluate(deployment, dataset, keep)

    def score_live(
        self, deployment: str, previous: str, start: float, end: float, keep: Callable[[], None]
    ) -> Judgement:
        """See `Judge.score_live`."""
        return self.build().score_live(deployment, previous, start, end, keep)


def describe_plan(plan: Plan, wanted: Wanted, traffic: Mapping[str, int]) -> str:
    """Show a plan as it would be applied."""
    head = f"{plan.endpoint}: now {say_split(traffic)}; wanted version {wanted.version} ({wanted.digest[:19]})"
    if not plan.steps:
        return f"{head}\nNothing to do: it is so already."
    return "\n".join([head, *(f"{number:>3}. {step}" for number, step in enumerate(plan.steps, start=1))])


def plan_to_json(plan: Plan, wanted: Wanted) -> dict[str, Any]:
    """Write a plan for a machine."""
    return {
        "endpoint": plan.endpoint,
        "version": wanted.version,
        "digest": wanted.digest,
        "steps": [{"step": type(step).__name__, "does": str(step), **to_json(step)} for step in plan.steps],
    }


def _record(wanted: Wanted, result: Result, target: Target, now: str) -> RolloutRecord:
    return RolloutRecord(
        id=wanted.id,
        action=wanted.action,
        experiment=wanted.experiment,
        environment=target.environment.name,
        endpoint=wanted.endpoint,
        version=result.version or wanted.version,
        digest=wanted.digest,
        outcome=result.outcome,
        exit_code=result.exit_code,
        deployment=result.deployment,
        previous=result.previous,
        verdict=result.verdict,
        requests=result.requests,
        reason=result.reason,
        by=wanted.by,
        link=wanted.link,
        started_at=wanted.at,
        ended_at=now,
        steps=result.steps,
    )


def _required(outcome: RunRecord | LlmopsError) -> RunRecord:
    if isinstance(outcome, LlmopsError):
        raise outcome
    return outcome
