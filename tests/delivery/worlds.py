"""A small world for rollouts: the fake backend, a judge by script, and the invariants that must always hold."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from llmops.backends.fake import Behaviour, Call, FakeBackend, FakeEndpoints, FakeRegistry, Fault, Killed
from llmops.backends.protocols import Answer, DeploymentRequest
from llmops.core.endpoint import Deployment, Endpoint, is_valid_split
from llmops.core.release_rules import Checks, Rollout, TrafficStep
from llmops.core.rollout import Wanted
from llmops.core.rollout_checks import Judgement
from llmops.core.rollout_state import EVALUATED, PROBED, Underway, failure_of, is_ours, is_proven, read_state
from llmops.delivery.driver import Driver, Result
from llmops.delivery.lease import retry
from llmops.errors import BackendError, LlmopsError
from llmops.releases import ModelRecord

ENDPOINT = "web-prod"
LEASE_S = 60.0

RULES = Rollout(
    steps=(TrafficStep(percent=10, bake_s=20), TrafficStep(percent=50, bake_s=10)),
    bake_s=10,
    checks=Checks(max_error_rate=0.05, max_latency_ratio=2.0),
    lease_s=LEASE_S,
    healthy_timeout_s=30,
    rollback_window_s=3600,
)


def digest_of(version: int) -> str:
    """Name the content of a version."""
    return f"sha256:{hashlib.sha256(str(version).encode()).hexdigest()}"


def model_of(version: int) -> ModelRecord:
    """Stand for a registered version."""
    return ModelRecord(
        name="web",
        version=str(version),
        digest=digest_of(version),
        manifest=digest_of(version),
        created_at="2026-01-01T00:00:00+00:00",
        created_by="ana",
    )


class BrokenInvariantError(AssertionError):
    """Something happened that must never happen."""


@dataclass(frozen=True)
class ScriptedJudge:
    """Sends requests like the real judge; what it thinks of them follows from the version's script."""

    endpoints: FakeEndpoints
    endpoint: str
    gates: Mapping[str, int]
    fragile: Collection[str]

    def probe(self, deployment: str, rows: int) -> Judgement:
        """See `Judge.probe`."""
        self._refuse_to_repeat(deployment, PROBED)
        for row in range(rows):
            answer = self._ask(deployment, row)
            if answer.status != 200 or "row" not in (answer.outputs or {}):
                return Judgement(exit_code=10, sentence=f"row {row}: status {answer.status}, wrong outputs")
        return Judgement(exit_code=0, sentence=f"{rows} rows answered")

    def evaluate(self, deployment: str, dataset: str, keep: Callable[[], None]) -> Judgement:
        """See `Judge.evaluate`."""
        del dataset
        self._refuse_to_repeat(deployment, EVALUATED)
        for row in range(2):
            self._ask(deployment, row)
            keep()
        observed = retry(lambda: self.endpoints.observe(self.endpoint), self.endpoints.backend.clock)
        digest = _find(observed, deployment).digest
        if digest in self.fragile:
            self.endpoints.backend.behaviours[digest] = Behaviour(fate="unhealthy")
        return Judgement(exit_code=self.gates.get(digest, 0), sentence="gate", verdict=f"verdict-{deployment}")

    def score_live(
        self, deployment: str, previous: str, start: float, end: float, keep: Callable[[], None]
    ) -> Judgement:
        """See `Judge.score_live`."""
        del previous
        keep()
        read = partial(self.endpoints.read_captured, self.endpoint, start=start, end=end, limit=5)
        answers = retry(read, self.endpoints.backend.clock).get(deployment, ())
        is_good = not any("rude" in answer.outputs for answer in answers)
        return Judgement(exit_code=0 if answers and is_good else 10, sentence=f"{len(answers)} live answers scored")

    def _ask(self, deployment: str, row: int) -> Answer:
        ask = partial(self.endpoints.score, self.endpoint, {"row": row}, deployment=deployment)
        return retry(ask, self.endpoints.backend.clock)

    def _refuse_to_repeat(self, deployment: str, tag: str) -> None:
        if is_proven(_find(self.endpoints.backend.see(self.endpoint), deployment), tag):
            raise BrokenInvariantError(f"{deployment} has {tag} and is judged again")


def _find(endpoint: Endpoint | None, deployment: str) -> Deployment:
    """Find a deployment as the real judge does: another driver may have taken the lease, and deleted it."""
    if endpoint is None or deployment not in endpoint.deployments:
        raise BackendError.of(f"the deployment {deployment} is gone")
    return endpoint.deployments[deployment]


@dataclass
class World:
    """One endpoint, its drivers, and a watch over every call.

    Attributes:
        gates: digest to the exit code of its gate.
        fragile: digests of deployments that die once they are evaluated.
        is_strict: whether a split over anything but healthy deployments is a broken invariant; stale writes of a
            driver that lost its lease may bring one about, until the next rollout.
    """

    backend: FakeBackend = field(default_factory=FakeBackend)
    gates: dict[str, int] = field(default_factory=dict)
    fragile: set[str] = field(default_factory=set)
    served: bool = False
    is_strict: bool = True
    evaluated: set[tuple[str, str]] = field(default_factory=set)
    last: tuple[Underway | None, int] = (None, 0)
    _judged: tuple[Endpoint, bool] | None = None

    def __post_init__(self) -> None:
        self.backend.watch = self._watch

    def driver(self, faults: Sequence[Fault] = ()) -> Driver:
        """Connect one driver."""
        registry, endpoints = self.backend.connect(faults)
        return Driver(
            endpoints=endpoints,
            clock=self.backend.clock,
            judge=ScriptedJudge(endpoints, ENDPOINT, self.gates, self.fragile),
            request=lambda name, tags: _request(registry, name, tags),
            owner="a test",
        )

    def behave(self, version: int, behaviour: Behaviour) -> None:
        """Say how a version behaves once it is deployed."""
        self.backend.behaviours[digest_of(version)] = behaviour

    def seen(self) -> Endpoint:
        """Look at the endpoint from outside."""
        return self.backend.see(ENDPOINT) or Endpoint(name=ENDPOINT)

    def serving(self) -> Mapping[str, int]:
        """Say which versions serve how much."""
        endpoint = self.seen()
        return {endpoint.deployments[name].version: percent for name, percent in endpoint.traffic.items()}

    def let_leases_expire(self) -> None:
        """Wait until a dead driver's lease is free."""
        self.backend.clock.sleep(LEASE_S + 1)

    def _watch(self, call: Call) -> None:
        endpoint = self.backend.see(ENDPOINT)
        if endpoint is None:
            return
        if call.method == "score" and call.about in endpoint.deployments:
            self.evaluated.add((call.about, endpoint.deployments[call.about].digest))
        elif self._judged == (endpoint, self.is_strict):
            return
        self._judged = (endpoint, self.is_strict)
        state = read_state(endpoint)
        self.served = self.served or state.current is not None
        problem = _find_problem(endpoint, served=self.served, evaluated=self.evaluated)
        problem = problem or self._find_step_back(endpoint, state.underway)
        if problem and self.is_strict:
            raise BrokenInvariantError(f"after {call}: {problem}")

    def _find_step_back(self, endpoint: Endpoint, underway: Underway | None) -> str:
        last = self.last
        share = endpoint.traffic.get(underway.target, 0) if underway else 0
        self.last = (underway, share)
        if underway is None or last[0] != underway:
            return ""
        if underway.failure and share > last[1]:
            return f"{underway.target} failed and its share rose from {last[1]} to {share}"
        if underway.failure or share >= last[1]:
            return ""
        return f"the share of {underway.target} fell from {last[1]} to {share} although nothing failed"


def _find_problem(endpoint: Endpoint, *, served: bool, evaluated: set[tuple[str, str]]) -> str:
    if not is_valid_split(endpoint.traffic):
        return f"the traffic is {endpoint.traffic}"
    for name in endpoint.traffic:
        found = endpoint.deployments.get(name)
        if found is None or found.status != "healthy":
            return f"traffic goes to {name}, which is {found.status if found else 'gone'}"
        if (name, found.digest) not in evaluated:
            return f"{name} has traffic and was never asked anything"
        if EVALUATED in found.tags and found.tags[EVALUATED] != found.digest:
            return f"{name} serves other content than was evaluated"
    good = [one.version for one in endpoint.deployments.values() if is_ours(one) and failure_of(one) is None]
    if len(good) != len(set(good)):
        return f"several deployments of one version: {good}"
    if served and sum(endpoint.traffic.values()) != 100:
        return "an endpoint that served before serves nothing"
    return ""


def _request(registry: FakeRegistry, name: str, tags: Mapping[str, str]) -> DeploymentRequest:
    version = int(tags["llmops.version"])
    retry(lambda: registry.find("web", str(version)), registry.backend.clock)
    return DeploymentRequest(name=name, model=model_of(version), package=Path(), tags=tags, capture_percent=100)


def wanted(version: int, **changes: object) -> Wanted:
    """Want one version."""
    values: dict[str, object] = {
        "id": f"r{version}",
        "action": "deploy",
        "endpoint": ENDPOINT,
        "experiment": "web",
        "version": str(version),
        "digest": digest_of(version),
        "rules": RULES,
        "at": "2026-01-01T00:00:00+00:00",
        "by": "ana",
        **changes,
    }
    return Wanted(**values)  # type: ignore[arg-type]


def run_to_death(command: Callable[[Driver], Result], driver: Driver) -> Result | LlmopsError | None:
    """Run a command; None when its driver was killed, the error when it refused to begin."""
    try:
        return command(driver)
    except Killed:
        return None
    except LlmopsError as error:
        return error
