"""Apply rollouts: observe, plan, apply step by step, and turn back on any doubt."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import NamedTuple, Protocol

from llmops.backends.protocols import Clock, DeploymentRequest, Endpoints
from llmops.core.endpoint import Deployment, Endpoint, Window
from llmops.core.rollout import (
    Plan,
    RollbackChoice,
    Wanted,
    choose_rollback,
    plan_cleanup,
    plan_release,
    plan_return,
)
from llmops.core.rollout_checks import Judgement, judge_window
from llmops.core.rollout_state import (
    CURRENT_AT,
    EVALUATED,
    EXPERIMENT,
    MADE_BY,
    PROBED,
    VERDICT,
    VERSION,
    Failure,
    is_proven,
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
from llmops.delivery.lease import LeaseKeeper, hold_lease
from llmops.errors import BackendError, ExitCode, LlmopsError
from llmops.releases import RolloutOutcome, StepRecord

_MAX_ROUNDS = 4
_POLL_S = 2.0
_SETTLE_S = 0.5


class Judge(Protocol):
    """Says whether a deployment is good enough, by its own answers."""

    def probe(self, deployment: str, rows: int) -> Judgement:
        """Send some rows and look at the outputs."""

    def evaluate(self, deployment: str, dataset: str, keep: Callable[[], None]) -> Judgement:
        """Score the answers to a data set and gate them.

        Args:
            deployment: on the endpoint that the judge was built for.
            dataset: of the experiment; empty for its own choice.
            keep: to be called often, so that the rollout is not taken for dead.
        """

    def score_live(
        self, deployment: str, previous: str, start: float, end: float, keep: Callable[[], None]
    ) -> Judgement:
        """Score the live answers of a span of time, beside those of the deployment that is replaced.

        Args:
            deployment: under watch; previous: that it replaces, empty when there is none.
            start, end: seconds since the epoch.
            keep: as for `evaluate`.
        """


@dataclass
class Result:
    """How a rollout went.

    Attributes:
        exit_code: of the command.
        version: that was wanted; empty until it is known.
        deployment: that was to have all traffic; previous: the one that had most of it.
        verdict: id of the verdict over the deployment.
        requests: live requests that the deployment saw while it was watched.
        reason: why it returned or stopped.
        steps: that were taken, in order.
    """

    outcome: RolloutOutcome = "done"
    exit_code: int = 0
    version: str = ""
    deployment: str = ""
    previous: str = ""
    verdict: str = ""
    requests: int = 0
    reason: str = ""
    steps: list[StepRecord] = field(default_factory=list)


class RolledBack(NamedTuple):
    """Where a roll back led, and how it went."""

    choice: RollbackChoice
    result: Result


class _CheckError(Exception):
    """A check says no: the traffic must return."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


@dataclass(frozen=True, kw_only=True)
class Driver:
    """Brings one endpoint to a wanted state.

    Attributes:
        judge: of this endpoint's deployments.
        request: from a deployment's name and tags to what it is made from.
        owner: who drives, for people; link: the run of the CI system, empty on a laptop.
        say: takes a sentence for people, after each step.
    """

    endpoints: Endpoints
    clock: Clock
    judge: Judge
    request: Callable[[str, Mapping[str, str]], DeploymentRequest]
    owner: str
    link: str = ""
    say: Callable[[str], object] = lambda _: None

    def release(self, wanted: Wanted) -> Result:
        """Give the wanted version all traffic; with `already so` in everything that is.

        Returns:
            done, or returned when a check failed, or stopped when the backend gave up; only the last leaves something
            to be done, by the same command.

        Raises:
            LeaseHeldError: someone else is changing the endpoint; nothing was done.
        """
        with self._lease(wanted) as keeper:
            return _Attempt(self, wanted, keeper).run()

    def roll_back(self, wanted: Wanted, to: str | None, find_digest: Callable[[str], str], reason: str) -> RolledBack:
        """Return to what served before the last rollout, or to a version.

        Args:
            wanted: names the endpoint and the rules; its version counts for nothing.
            to: a version; None for what served before.
            find_digest: version to the digest of its content in the registry; asked only when the version must be
                deployed again.
            reason: for people.

        Raises:
            LeaseHeldError: someone else is changing the endpoint; nothing was done.
        """
        with self._lease(wanted) as keeper:
            return _Attempt(self, wanted, keeper).roll_back(to, find_digest, reason)

    def clean_up(self, wanted: Wanted) -> Result:
        """Delete what is due, see `plan_cleanup`.

        Args:
            wanted: names the endpoint and the rules.

        Raises:
            LeaseHeldError: someone else is changing the endpoint; nothing was done.
        """
        with self._lease(wanted) as keeper:
            return _Attempt(self, wanted, keeper).clean_up()

    def _lease(self, wanted: Wanted) -> contextlib.AbstractContextManager[LeaseKeeper]:
        return hold_lease(
            self.endpoints,
            self.clock,
            wanted.endpoint,
            owner=self.owner,
            link=self.link,
            duration_s=wanted.rules.lease_s,
        )


class _Attempt:
    """One driver at work on one rollout."""

    def __init__(self, driver: Driver, wanted: Wanted, keeper: LeaseKeeper) -> None:
        self._driver = driver
        self._wanted = wanted
        self._keeper = keeper
        self._clock = driver.clock
        self._result = Result()

    def run(self) -> Result:
        try:
            return self._run()
        except LlmopsError as error:
            return self._stopped(error)

    def give_up(self, reason: str) -> Result:
        failure = Failure(exit_code=int(ExitCode.GATE_FAILED), reason=reason)
        try:
            self._return(failure)
        except LlmopsError as error:
            return self._stopped(error)
        self._result.outcome = "done"
        self._result.exit_code = 0
        return self._result

    def roll_back(self, to: str | None, find_digest: Callable[[str], str], reason: str) -> RolledBack:
        observed = self._observe()
        choice = choose_rollback(observed, to)
        if choice.kind == "return":
            return RolledBack(choice, self.give_up(reason))
        if choice.kind == "already":
            return RolledBack(choice, self.clean_up())  # a driver that died may have left it to us
        if choice.kind != "move" or choice.place is None:
            return RolledBack(choice, self._result)
        place = choice.place
        there = observed.deployments.get(place.deployment)
        digest = there.digest if there else find_digest(place.version)
        # It served before: what it needs is to be healthy, at once.
        self._wanted = replace(self._wanted, version=place.version, digest=digest, strategy="immediate", evaluate=False)
        return RolledBack(choice, self.run())

    def clean_up(self) -> Result:
        try:
            observed = self._observe()
            for step in plan_cleanup(observed, self._wanted.rules, now=self._clock.now()):
                self._take(step)
        except LlmopsError as error:
            return self._stopped(error)
        return self._result

    def _run(self) -> Result:
        for _ in range(_MAX_ROUNDS):
            observed = self._keeper.read(lambda: self._driver.endpoints.observe(self._wanted.endpoint))
            plan = plan_release(observed, self._wanted, now=self._clock.now())
            self._result.version = self._wanted.version
            self._result.deployment = plan.target or self._result.deployment
            self._result.previous = max(plan.before, key=lambda n: plan.before[n], default=self._result.previous)
            if not plan.steps:
                return self._result
            try:
                self._apply(plan)
            except _CheckError as error:
                self._return(error.failure)
                return self._result
            if plan.failure:
                return self._returned(plan.failure)
        raise BackendError.of(
            "the endpoint is not as it was left",
            where=self._wanted.endpoint,
            fix="See who else changes it: llmops status.",
        )

    def _apply(self, plan: Plan) -> None:
        for step in plan.steps:
            self._take(step)

    def _take(self, step: Step) -> None:
        try:
            result = self._do(step) or "done"
        except _CheckError as error:
            self._note(step, f"failed: {error.failure.reason}")
            raise
        self._note(step, result)

    def _note(self, step: Step, result: str) -> None:
        self._result.steps.append(StepRecord(step=str(step), result=result, at=self._now()))
        self._driver.say(str(step) if result == "done" else f"{step}: {result}")

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock.now(), timezone.utc).isoformat(timespec="seconds")

    def _return(self, failure: Failure) -> None:
        """Bring the traffic back; everything that fails here is left to the next attempt."""
        self._returned(failure)
        observed = self._observe()
        for step in plan_return(observed, failure, keep_failed=self._wanted.rules.keep_failed, now=self._clock.now()):
            self._take(step)
        for step in plan_cleanup(self._observe(), self._wanted.rules, now=self._clock.now()):
            self._take(step)

    def _returned(self, failure: Failure) -> Result:
        self._result.outcome = "returned"
        self._result.exit_code = failure.exit_code
        self._result.reason = failure.reason
        return self._result

    def _stopped(self, error: LlmopsError) -> Result:
        self._result.outcome = "stopped"
        self._result.exit_code = int(error.exit_code)
        self._result.reason = str(error)
        return self._result

    def _do(self, step: Step) -> str | None:
        if isinstance(step, (AwaitHealthy, Probe, Evaluate, Mirror, Shift, Bake)):
            return self._prove_or_move(step)
        self._write_down(step)
        return None

    def _prove_or_move(self, step: Step) -> str | None:
        match step:
            case AwaitHealthy():
                return self._await_healthy(step)
            case Probe():
                return self._probe(step)
            case Evaluate():
                return self._evaluate(step)
            case Mirror():
                self._update(mirror={step.deployment: step.percent})
                return self._watch(step.deployment, step.seconds)
            case Bake():
                return self._watch(step.deployment, step.seconds)
            case Shift():
                self._require_proof(step.deployment)
                self._update(traffic=step.traffic, mirror={})
        return None

    def _write_down(self, step: Step) -> None:
        match step:
            case EnsureEndpoint():
                tags = {EXPERIMENT: step.experiment}
                self._keeper.write(lambda: self._driver.endpoints.ensure_endpoint(self._wanted.endpoint, tags=tags))
            case Create():
                request = self._driver.request(step.deployment, {VERSION: step.version, MADE_BY: self._wanted.id})
                self._keeper.write(lambda: self._driver.endpoints.create_deployment(self._wanted.endpoint, request))
            case Begin() | EndRollout():
                self._update(tags=step.notes())
            case Finish():
                self._update(tags={**step.notes(), CURRENT_AT: self._now()})
            case Return():
                self._update(traffic=step.traffic, mirror={}, tags=step.notes())
            case Retire() | MarkFailed():
                self._tag(step.deployment, step.marks(self._clock.now()))
            case Delete():
                endpoint = self._wanted.endpoint
                self._keeper.write(lambda: self._driver.endpoints.delete_deployment(endpoint, step.deployment))

    def _update(
        self,
        *,
        traffic: Mapping[str, int] | None = None,
        mirror: Mapping[str, int] | None = None,
        tags: Mapping[str, str | None] | None = None,
    ) -> None:
        endpoint = self._wanted.endpoint
        self._keeper.write(
            lambda: self._driver.endpoints.update_endpoint(endpoint, traffic=traffic, mirror=mirror, tags=tags)
        )

    def _tag(self, deployment: str, tags: Mapping[str, str | None]) -> None:
        endpoint = self._wanted.endpoint
        self._keeper.write(lambda: self._driver.endpoints.tag_deployment(endpoint, deployment, tags))

    def _observe(self) -> Endpoint:
        endpoint = self._keeper.read(lambda: self._driver.endpoints.observe(self._wanted.endpoint))
        return endpoint or Endpoint(name=self._wanted.endpoint)

    def _deployment(self, name: str) -> Deployment:
        """Look at a deployment, and see that it serves what is wanted."""
        found = self._observe().deployments.get(name)
        if found is None:
            raise _failed(f"{name} is gone")
        if found.digest != self._wanted.digest:
            raise _failed(f"{name} serves {found.digest or 'unknown content'}, not {self._wanted.digest}")
        return found

    def _await_healthy(self, step: AwaitHealthy) -> str | None:
        started = self._clock.now()
        while True:
            found = self._deployment(step.deployment)
            if found.status == "healthy":
                return f"healthy after {self._clock.now() - started:.0f} s"
            if found.status in ("failed", "deleting"):
                raise _failed(f"{found.name} is {found.status}: {found.message or 'no reason given'}")
            if self._clock.now() - started >= step.timeout_s:
                text = (
                    f"{found.name} is {found.status} after {step.timeout_s:g} s: {found.message or 'no reason given'}"
                )
                raise _failed(text, ExitCode.TIMEOUT)
            for _ in self._keeper.wait(_POLL_S):
                continue

    def _probe(self, step: Probe) -> str:
        self._deployment(step.deployment)
        self._keeper.confirm()
        judgement = self._driver.judge.probe(step.deployment, step.rows)
        self._require(judgement)
        self._tag(step.deployment, step.marks(self._clock.now()))
        return judgement.sentence

    def _evaluate(self, step: Evaluate) -> str:
        self._deployment(step.deployment)
        self._keeper.confirm()
        judgement = self._driver.judge.evaluate(step.deployment, step.dataset, self._keeper.keep)
        self._result.verdict = judgement.verdict
        self._require(judgement)
        self._tag(step.deployment, {**step.marks(self._clock.now()), VERDICT: short(judgement.verdict)})
        return judgement.sentence

    def _require(self, judgement: Judgement) -> None:
        if judgement.exit_code:
            raise _CheckError(Failure(exit_code=judgement.exit_code, reason=judgement.sentence))

    def _require_proof(self, name: str) -> None:
        """Look once more before traffic moves: what was proven must be what is there, and it must answer."""
        found = self._deployment(name)
        if found.status != "healthy":
            raise _failed(f"{name} is {found.status}: {found.message or 'no reason given'}")
        if self._wanted.rules.probe_rows and not is_proven(found, PROBED):
            raise _failed(f"{name} was not probed")
        if self._wanted.evaluate and not is_proven(found, EVALUATED):
            raise _failed(f"{name} was not evaluated")

    def _watch(self, name: str, seconds: float) -> str:
        start = self._clock.now()
        for left in self._keeper.wait(seconds):
            if left and self._judge(name, self._windows(start, self._clock.now()), is_over=False).exit_code:
                break
        end = self._clock.now()
        windows = self._settled_windows(name, start, end)
        seen = windows.get(name, Window())
        self._result.requests += seen.requests + len(seen.waiting_s)
        judgement = self._judge(name, windows, is_over=True)
        self._require(judgement)
        return "; ".join([judgement.sentence, *self._score_live(name, start, end)])

    def _judge(self, name: str, windows: Mapping[str, Window], *, is_over: bool) -> Judgement:
        old = windows.get(self._result.previous) if self._result.previous else None
        return judge_window(self._wanted.rules.checks, windows.get(name, Window()), old, is_over=is_over)

    def _settled_windows(self, name: str, start: float, end: float) -> Mapping[str, Window]:
        """Measure a span that is over, once each of its requests has an answer or has waited too long, or it failed."""
        longest_s = self._wanted.rules.checks.max_wait_s
        while True:
            windows = self._windows(start, end)
            has_failed = self._judge(name, windows, is_over=True).exit_code == ExitCode.GATE_FAILED
            if has_failed or all(waited >= longest_s for waited in windows.get(name, Window()).waiting_s):
                return windows
            for _ in self._keeper.wait(_SETTLE_S):
                continue

    def _windows(self, start: float, end: float) -> Mapping[str, Window]:
        endpoint = self._wanted.endpoint
        return self._keeper.read(lambda: self._driver.endpoints.measure(endpoint, start=start, end=end))

    def _score_live(self, name: str, start: float, end: float) -> Iterator[str]:
        if not self._wanted.rules.live_scores.limits:
            return
        self._keeper.confirm()
        judgement = self._driver.judge.score_live(name, self._result.previous, start, end, self._keeper.keep)
        self._require(judgement)
        yield judgement.sentence


def _failed(reason: str, code: ExitCode = ExitCode.GATE_FAILED) -> _CheckError:
    return _CheckError(Failure(exit_code=int(code), reason=reason))
