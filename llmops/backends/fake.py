"""A backend in memory with a simulated clock and faults by script, for tests: ours, and those of users' pipelines.

    backend = FakeBackend(folder)
    backend.behaviours[digest] = Behaviour(error_rate=0.5)
    registry, endpoints = backend.connect([Fault(at=3, kind="time-out")])

Each `connect` is one driver. Its calls are counted from 0 over registry and endpoints together; a fault happens at one
of them. A driver that died raises `Killed`, which is no `Exception`, at once and at every later call.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from llmops.backends.protocols import Answer, CapturedAnswer, DeploymentRequest
from llmops.config.connections import ResolvedConnection, reach_stand_in
from llmops.core.endpoint import NAME_PATTERN, Deployment, DeploymentStatus, Endpoint, Lease, Window, is_valid_split
from llmops.core.rollout_steps import merge_tags
from llmops.errors import BackendError, LeaseHeldError, LeaseLostError, Problem, TransientError, UsageError
from llmops.releases import EvidenceRef, ModelRecord

T = TypeVar("T")

FaultKind = Literal["die-before", "die-after", "fail-once", "fail-for-good", "time-out", "late", "lands-later"]
"""die-before, die-after: the driver is killed before the call takes effect, or after, before it returns.
fail-once: `TransientError`, without effect. fail-for-good: `BackendError`, at every later call of this method too.
time-out: `TransientError`, although it took effect. late: it takes `seconds`. lands-later: `TransientError`, and the
effect comes `seconds` later, whatever happened in between."""

_EPOCH = 1_700_000_000.0


class Killed(BaseException):
    """The driver's process ended here."""


class SimulatedClock:
    """A clock that moves only when someone sleeps."""

    def __init__(self, now: float = _EPOCH) -> None:
        self._now = now

    def now(self) -> float:
        """See `Clock.now`."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`; returns at once."""
        self._now += seconds


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong at one call of one driver.

    Attributes:
        at: the call's number, counted from 0.
        seconds: for `late` and `lands-later`.
        meanwhile: runs while a late call waits, for instance another driver.
    """

    at: int
    kind: FaultKind
    seconds: float = 0.0
    meanwhile: Callable[[], object] | None = None


def _echo(inputs: Mapping[str, Any]) -> Answer:
    return Answer(status=200, outputs=dict(inputs), duration_s=0.1)


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How deployments of one content behave.

    Attributes:
        healthy_after_s: from their creation.
        fate: what they are from then on.
        answer: inputs to answer; echoes them by default.
        error_rate: share of live requests that fail; latency_s: of every live request.
        hang_rate: share of live requests that are never answered.
    """

    healthy_after_s: float = 5.0
    fate: DeploymentStatus = "healthy"
    answer: Callable[[Mapping[str, Any]], Answer] = _echo
    error_rate: float = 0.0
    latency_s: float = 0.1
    hang_rate: float = 0.0


class Call(NamedTuple):
    """One call that was made: by which driver, of which method, with what, and whether it took effect."""

    driver: int
    method: str
    about: str
    took_effect: bool


class _Span(NamedTuple):
    start: float
    traffic: Mapping[str, int]
    mirror: Mapping[str, int]


@dataclass
class _Made:
    """An endpoint as it is kept: deployments with the time of their creation, and every split that it had.

    Attributes:
        captures: deployment to the share of live requests that is kept.
    """

    tags: dict[str, str]
    traffic: dict[str, int] = field(default_factory=dict)
    mirror: dict[str, int] = field(default_factory=dict)
    deployments: dict[str, tuple[Deployment, float]] = field(default_factory=dict)
    spans: list[_Span] = field(default_factory=list)
    captures: dict[str, int] = field(default_factory=dict)


@dataclass
class FakeBackend:
    """What all drivers share.

    Attributes:
        folder: where packages are kept; needed for `register` alone.
        behaviours: digest to how it behaves.
        load_rps: live requests per second to an endpoint that has traffic; live_inputs: of each of them.
        calls: every call so far.
        watch: is called after every call, before it returns or fails.
        endpoints, leases, models, documents: what is kept; pending: effects on their way, each with its moment; lock:
            is held while a call takes effect.
    """

    folder: Path | None = None
    clock: SimulatedClock = field(default_factory=SimulatedClock)
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    load_rps: float = 10.0
    live_inputs: Mapping[str, Any] = field(default_factory=lambda: {"question": "live"})
    calls: list[Call] = field(default_factory=list)
    watch: Callable[[Call], object] = lambda _: None
    endpoints: dict[str, _Made] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    models: dict[str, list[ModelRecord]] = field(default_factory=dict)
    documents: dict[str, bytes] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    pending: list[tuple[float, Callable[[], object]]] = field(default_factory=list)
    _drivers: itertools.count[int] = field(default_factory=itertools.count)

    def connect(self, faults: Sequence[Fault] = ()) -> tuple[FakeRegistry, FakeEndpoints]:
        """Start one driver, with what is to go wrong for it."""
        driver = _Driver(self, next(self._drivers), {fault.at: fault for fault in faults})
        return FakeRegistry(self, driver), FakeEndpoints(self, driver)

    def see(self, endpoint: str) -> Endpoint | None:
        """Look at an endpoint from outside of any driver."""
        made = self.endpoints.get(endpoint)
        if made is None:
            return None
        return Endpoint(
            name=endpoint,
            traffic=dict(made.traffic),
            mirror=dict(made.mirror),
            tags=dict(made.tags),
            deployments={name: self._now(one, born) for name, (one, born) in sorted(made.deployments.items())},
        )

    def settle(self) -> None:
        """Let every effect land that is still on its way."""
        self.land(float("inf"))

    def _now(self, deployment: Deployment, born: float) -> Deployment:
        behaviour = self.behaviours.get(deployment.digest, Behaviour())
        if self.clock.now() < born + behaviour.healthy_after_s:
            return deployment
        message = "" if behaviour.fate == "healthy" else f"the script says {behaviour.fate}"
        return replace(deployment, status=behaviour.fate, message=message)

    def land(self, until: float) -> None:
        """Let the effects land that are due by a moment."""
        due = [entry for entry in self.pending if entry[0] <= until]
        self.pending = [entry for entry in self.pending if entry[0] > until]
        for _, effect in due:
            try:
                effect()
            except UsageError:
                continue  # the backend refused it, and nobody is there any more to be told


class _Driver:
    """The connection of one driver: counts calls and lets the script have its way."""

    def __init__(self, backend: FakeBackend, number: int, faults: Mapping[int, Fault]) -> None:
        self._backend = backend
        self._number = number
        self._faults = faults
        self._count = itertools.count()
        self._refused: set[str] = set()
        self._is_dead = False

    def call(self, method: str, about: str, effect: Callable[[], T]) -> T:
        """Make one call, as the script wants it."""
        if self._is_dead:
            raise Killed
        fault = self._faults.get(next(self._count))
        kind = fault.kind if fault else None
        self._backend.land(self._backend.clock.now())
        if fault and kind == "late":
            self._backend.clock.sleep(fault.seconds)
            if fault.meanwhile:
                fault.meanwhile()
        if kind == "fail-for-good":
            self._refused.add(method)
        if fault and kind == "lands-later":
            self._backend.pending.append((self._backend.clock.now() + fault.seconds, effect))
        takes_effect = method not in self._refused and kind not in ("die-before", "fail-once", "lands-later")
        try:
            with self._backend.lock:
                result = effect() if takes_effect else None
        finally:
            call = Call(self._number, method, about, takes_effect)
            self._backend.calls.append(call)
            self._backend.watch(call)
        return self._answer(method, kind, result)

    def _answer(self, method: str, kind: FaultKind | None, result: T | None) -> T:
        if kind in ("die-before", "die-after"):
            self._is_dead = True
            raise Killed
        if method in self._refused:
            raise BackendError.of(f"the backend refuses {method}", found="a fault of the script")
        if kind in ("fail-once", "time-out", "lands-later"):
            raise TransientError.of(f"no answer to {method}", found="a fault of the script")
        return result  # type: ignore[return-value]


@dataclass(frozen=True)
class FakeRegistry:
    """`Registry` in memory; packages are folders."""

    backend: FakeBackend
    driver: _Driver

    def register(self, package: Path, *, name: str, digest: str, created_by: str) -> ModelRecord:
        """See `Registry.register`."""
        return self.driver.call("register", name, lambda: self._register(package, name, digest, created_by))

    def find(self, name: str, version: str) -> ModelRecord | None:
        """See `Registry.find`."""
        return self.driver.call(
            "find", name, lambda: next((one for one in self._versions(name) if one.version == version), None)
        )

    def find_digest(self, name: str, digest: str) -> ModelRecord | None:
        """See `Registry.find_digest`."""
        return self.driver.call(
            "find_digest", name, lambda: next((one for one in self._versions(name) if one.digest == digest), None)
        )

    def list_models(self) -> Sequence[ModelRecord]:
        """See `Registry.list_models`."""
        return self.driver.call(
            "list_models",
            "",
            lambda: [one for name in sorted(self.backend.models) for one in self._versions(name)[::-1]],
        )

    def fetch(self, model: ModelRecord) -> Path:
        """See `Registry.fetch`."""
        return self.driver.call("fetch", model.name, lambda: self._folder(model.manifest))

    def add_evidence(self, model: ModelRecord, evidence: EvidenceRef, content: bytes) -> ModelRecord:
        """See `Registry.add_evidence`."""
        return self.driver.call("add_evidence", model.name, lambda: self._add_evidence(model, evidence, content))

    def read_evidence(self, model: ModelRecord, evidence: EvidenceRef) -> bytes:
        """See `Registry.read_evidence`."""
        return self.driver.call("read_evidence", model.name, lambda: self._read_evidence(evidence))

    def _versions(self, name: str) -> list[ModelRecord]:
        return self.backend.models.get(name, [])

    def _folder(self, manifest: str) -> Path:
        if self.backend.folder is None:
            raise UsageError.of("this fake backend has no folder for packages")
        return self.backend.folder / manifest.removeprefix("sha256:")

    def _register(self, package: Path, name: str, digest: str, created_by: str) -> ModelRecord:
        versions = self.backend.models.setdefault(name, [])
        known = next((one for one in versions if one.digest == digest), None)
        if known:
            return known
        manifest = f"sha256:{hashlib.sha256((package / 'manifest.json').read_bytes()).hexdigest()}"
        shutil.copytree(package, self._folder(manifest), dirs_exist_ok=True)
        created_at = datetime.fromtimestamp(self.backend.clock.now(), timezone.utc).isoformat()
        record = ModelRecord(
            name=name,
            version=str(len(versions) + 1),
            digest=digest,
            manifest=manifest,
            created_at=created_at,
            created_by=created_by,
        )
        versions.append(record)
        return record

    def _add_evidence(self, model: ModelRecord, evidence: EvidenceRef, content: bytes) -> ModelRecord:
        versions = self._versions(model.name)
        place = next(n for n, one in enumerate(versions) if one.version == model.version)
        self.backend.documents[evidence.digest] = content
        if evidence not in versions[place].evidence:
            versions[place] = replace(versions[place], evidence=(*versions[place].evidence, evidence))
        return versions[place]

    def _read_evidence(self, evidence: EvidenceRef) -> bytes:
        if evidence.digest not in self.backend.documents:
            raise UsageError.of("the document is gone", where=evidence.id)
        return self.backend.documents[evidence.digest]


@dataclass(frozen=True)
class FakeEndpoints:
    """`Endpoints` in memory."""

    backend: FakeBackend
    driver: _Driver

    def acquire_lease(self, endpoint: str, *, token: str, owner: str, link: str, duration_s: float) -> Lease:
        """See `Endpoints.acquire_lease`."""
        return self.driver.call(
            "acquire_lease", endpoint, lambda: self._acquire(_valid(endpoint), token, owner, link, duration_s)
        )

    def renew_lease(self, lease: Lease, *, duration_s: float) -> Lease:
        """See `Endpoints.renew_lease`."""
        return self.driver.call("renew_lease", lease.endpoint, lambda: self._renew(lease, duration_s))

    def release_lease(self, lease: Lease) -> None:
        """See `Endpoints.release_lease`."""

        def release() -> None:
            held = self.backend.leases.get(lease.endpoint)
            if held and held.token == lease.token:
                del self.backend.leases[lease.endpoint]

        self.driver.call("release_lease", lease.endpoint, release)

    def read_lease(self, endpoint: str) -> Lease | None:
        """See `Endpoints.read_lease`."""
        return self.driver.call("read_lease", endpoint, lambda: self._held(endpoint))

    def list_endpoints(self) -> Sequence[str]:
        """See `Endpoints.list_endpoints`."""
        return self.driver.call("list_endpoints", "", lambda: sorted(self.backend.endpoints))

    def observe(self, endpoint: str) -> Endpoint | None:
        """See `Endpoints.observe`."""
        return self.driver.call("observe", endpoint, lambda: self.backend.see(endpoint))

    def ensure_endpoint(self, endpoint: str, *, tags: Mapping[str, str]) -> None:
        """See `Endpoints.ensure_endpoint`."""
        self.driver.call(
            "ensure_endpoint",
            endpoint,
            lambda: self.backend.endpoints.setdefault(_valid(endpoint), _Made(tags=dict(tags))),
        )

    def update_endpoint(
        self,
        endpoint: str,
        *,
        traffic: Mapping[str, int] | None = None,
        mirror: Mapping[str, int] | None = None,
        tags: Mapping[str, str | None] | None = None,
    ) -> None:
        """See `Endpoints.update_endpoint`."""
        about = json.dumps({"traffic": traffic, "mirror": mirror, "tags": sorted(tags or ())})
        self.driver.call("update_endpoint", about, lambda: self._update(endpoint, traffic, mirror, tags or {}))

    def find_obstacles(self, endpoint: str, request: DeploymentRequest) -> Sequence[Problem]:
        """See `Endpoints.find_obstacles`; there are none that could be seen before."""
        del endpoint, request
        return ()

    def reach_stand_in(self, connections: Mapping[str, ResolvedConnection]) -> bool:
        """See `Endpoints.reach_stand_in`."""
        return reach_stand_in(connections)

    def create_deployment(self, endpoint: str, request: DeploymentRequest) -> None:
        """See `Endpoints.create_deployment`."""
        self.driver.call("create_deployment", request.name, lambda: self._create(endpoint, request))

    def tag_deployment(self, endpoint: str, deployment: str, tags: Mapping[str, str | None]) -> None:
        """See `Endpoints.tag_deployment`."""

        def tag() -> None:
            made = self._made(endpoint)
            one, born = _known(made, deployment)
            made.deployments[deployment] = (replace(one, tags=merge_tags(one.tags, tags)), born)

        self.driver.call("tag_deployment", f"{deployment} {sorted(tags)}", tag)

    def delete_deployment(self, endpoint: str, deployment: str) -> None:
        """See `Endpoints.delete_deployment`."""

        def delete() -> None:
            made = self._made(endpoint)
            if made.traffic.get(deployment) or made.mirror.get(deployment):
                raise UsageError.of("a deployment with traffic cannot be deleted", where=f"{endpoint}/{deployment}")
            made.deployments.pop(deployment, None)

        self.driver.call("delete_deployment", deployment, delete)

    def score(
        self, endpoint: str, inputs: Mapping[str, Any], *, deployment: str | None = None, timeout_s: float = 60.0
    ) -> Answer:
        """See `Endpoints.score`; the split gives every request to the deployment with the most traffic."""
        del timeout_s
        return self.driver.call("score", deployment or "", lambda: self._score(endpoint, inputs, deployment))

    def measure(self, endpoint: str, *, start: float, end: float) -> Mapping[str, Window]:
        """See `Endpoints.measure`."""
        return self.driver.call("measure", endpoint, lambda: self._measure(self._made(endpoint), start, end))

    def read_captured(
        self, endpoint: str, *, start: float, end: float, limit: int
    ) -> Mapping[str, Sequence[CapturedAnswer]]:
        """See `Endpoints.read_captured`."""
        return self.driver.call(
            "read_captured", endpoint, lambda: self._captured(self._made(endpoint), start, end, limit)
        )

    def read_logs(self, endpoint: str, deployment: str, *, lines: int = 200) -> str:
        """See `Endpoints.read_logs`."""
        del lines
        return self.driver.call("read_logs", deployment, lambda: f"the log of {endpoint}/{deployment}")

    def _held(self, endpoint: str) -> Lease | None:
        lease = self.backend.leases.get(endpoint)
        return lease if lease and lease.expires_at > self.backend.clock.now() else None

    def _acquire(self, endpoint: str, token: str, owner: str, link: str, duration_s: float) -> Lease:
        held = self._held(endpoint)
        if held and held.token != token:
            until = datetime.fromtimestamp(held.expires_at, timezone.utc).isoformat(timespec="seconds")
            raise LeaseHeldError.of(
                "someone else is changing the endpoint",
                where=endpoint,
                found=" ".join(filter(None, (held.owner, held.link, f"until {until}"))),
                fix="Wait until that rollout has ended, then run the same command again.",
            )
        expires_at = self.backend.clock.now() + duration_s
        lease = Lease(endpoint=endpoint, token=token, owner=owner, link=link, expires_at=expires_at)
        self.backend.leases[endpoint] = lease
        return lease

    def _renew(self, lease: Lease, duration_s: float) -> Lease:
        last = self.backend.leases.get(lease.endpoint)
        if last is None or last.token != lease.token:
            raise LeaseLostError.of(
                "this driver no longer may change the endpoint",
                where=lease.endpoint,
                found=f"taken over by {last.owner}" if last else "the lease was given back",
            )
        renewed = replace(last, expires_at=self.backend.clock.now() + duration_s)
        self.backend.leases[lease.endpoint] = renewed
        return renewed

    def _made(self, endpoint: str) -> _Made:
        if endpoint not in self.backend.endpoints:
            raise UsageError.of("no such endpoint", where=endpoint)
        return self.backend.endpoints[endpoint]

    def _update(
        self,
        endpoint: str,
        traffic: Mapping[str, int] | None,
        mirror: Mapping[str, int] | None,
        tags: Mapping[str, str | None],
    ) -> None:
        made = self._made(endpoint)
        if traffic is not None:
            if not is_valid_split(traffic):
                raise UsageError.of("traffic that sums to neither 0 nor 100", where=endpoint, found=str(dict(traffic)))
            for name in traffic:
                _known(made, name)
        for name in mirror or ():
            _known(made, name)
        made.tags = merge_tags(made.tags, tags)
        made.traffic = made.traffic if traffic is None else {name: share for name, share in traffic.items() if share}
        made.mirror = made.mirror if mirror is None else {name: share for name, share in mirror.items() if share}
        made.spans.append(_Span(self.backend.clock.now(), made.traffic, made.mirror))

    def _create(self, endpoint: str, request: DeploymentRequest) -> None:
        made = self._made(endpoint)
        if request.name in made.deployments:
            there = made.deployments[request.name][0]
            if there.digest != request.model.digest:
                raise UsageError.of("the name is taken by other content", where=f"{endpoint}/{request.name}")
            return
        deployment = Deployment(
            name=_valid(request.name),
            model=request.model.name,
            version=request.model.version,
            digest=request.model.digest,
            status="creating",
            tags=dict(request.tags),
        )
        made.deployments[request.name] = (deployment, self.backend.clock.now())
        made.captures[request.name] = request.capture_percent

    def _score(self, endpoint: str, inputs: Mapping[str, Any], deployment: str | None) -> Answer:
        found = self.backend.see(endpoint)
        if found is None:
            return Answer(status=0, text="no such endpoint")
        name = deployment or max(found.traffic, key=lambda one: found.traffic[one], default="")
        if name not in found.deployments:
            return Answer(status=404, text="no such deployment")
        if found.deployments[name].status != "healthy":
            return Answer(status=503, text="not healthy", deployment=name)
        behaviour = self.backend.behaviours.get(found.deployments[name].digest, Behaviour())
        return replace(behaviour.answer(inputs), deployment=name)

    def _measure(self, made: _Made, start: float, end: float) -> Mapping[str, Window]:
        counts: dict[str, float] = {}
        ends = [span.start for span in made.spans[1:]] + [float("inf")]
        for span, until in zip(made.spans, ends, strict=True):
            seconds = max(0.0, min(until, end) - max(span.start, start))
            for name, share in [*span.traffic.items(), *span.mirror.items()]:
                counts[name] = counts.get(name, 0.0) + self.backend.load_rps * seconds * share / 100
        waited_s = self.backend.clock.now() - end
        return {name: self._window(made, name, round(count), waited_s) for name, count in counts.items()}

    def _window(self, made: _Made, name: str, came: int, waited_s: float) -> Window:
        behaviour = self._behaviour(made, name)
        hanging = round(came * behaviour.hang_rate)
        requests = came - hanging
        return Window(
            requests=requests,
            errors=round(requests * behaviour.error_rate),
            latency_s=dict.fromkeys((50, 95, 99), behaviour.latency_s) if requests else {},
            waiting_s=(waited_s,) * hanging,
        )

    def _behaviour(self, made: _Made, name: str) -> Behaviour:
        deployment = made.deployments.get(name)
        return self.backend.behaviours.get(deployment[0].digest if deployment else "", Behaviour())

    def _captured(self, made: _Made, start: float, end: float, limit: int) -> Mapping[str, Sequence[CapturedAnswer]]:
        return {
            name: self._answers(made, name, min(limit, window.requests * made.captures.get(name, 0) // 100), end)
            for name, window in self._measure(made, start, end).items()
        }

    def _answers(self, made: _Made, name: str, count: int, at: float) -> Sequence[CapturedAnswer]:
        inputs = self.backend.live_inputs
        outputs = self._behaviour(made, name).answer(inputs).outputs or {}
        return [
            CapturedAnswer(at=at, inputs=inputs, outputs=outputs, request_id=f"{name}-{number}")
            for number in range(count)
        ]


def _valid(name: str) -> str:
    if not re.fullmatch(NAME_PATTERN, name):
        raise UsageError.of("not a name for an endpoint or a deployment", found=f"'{name}'", expected=NAME_PATTERN)
    return name


def _known(made: _Made, deployment: str) -> tuple[Deployment, float]:
    if deployment not in made.deployments:
        raise UsageError.of("no such deployment", found=f"'{deployment}'", expected=", ".join(sorted(made.deployments)))
    return made.deployments[deployment]
