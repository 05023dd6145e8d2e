"""What a backend must do; `commands` know nothing else of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from llmops.config.connections import ResolvedConnection
from llmops.core.endpoint import Endpoint, Lease, Window
from llmops.errors import ExitCode, LlmopsError, Problem
from llmops.flows.closure import Closure
from llmops.flows.model import Flow
from llmops.flows.tree import FileTree
from llmops.records import DatasetRef, FlowRef, Line, RunRecord
from llmops.releases import EvidenceRef, ModelRecord


@dataclass(frozen=True, kw_only=True)
class FlowSource:
    """A flow version: what it is called, and where its files are read from.

    Attributes:
        tree: the working tree or a commit; `closure` was found in it.
    """

    ref: FlowRef
    tree: FileTree
    closure: Closure

    @property
    def flow(self) -> Flow:
        """What the definition says."""
        return self.closure.flow


@dataclass(frozen=True, kw_only=True)
class RunAbout:
    """What is said about a run, and what only one backend understands.

    Attributes:
        resources: `instance_type` or `compute`, as in prompt flow's run files.
    """

    display_name: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """Everything that decides the outcome of a run, and how to go about it.

    Attributes:
        label: name for progress and messages, for instance `candidate`.
        target: the run whose lines are evaluated, a request earlier in the same call or a run of before; None for a
            run of the flow itself.
        environment_variables: literal values or `${env:NAME}` references.
        resamples: bootstrap samples of the rows over which an evaluation flow's aggregation is run again; a backend
            that cannot leaves `RunRecord.resampled` empty.
        rows: positions of the rows to run, ascending; all of the data set when None. A larger request runs only the
            rows that a smaller one left out.
        is_required: False lets the other requests go on when this one cannot run at all.
        about: what people wrote about the run; it decides nothing.
    """

    label: str
    experiment: str
    source: FlowSource
    dataset: DatasetRef
    data: Path
    column_mapping: Mapping[str, Any]
    environment: str
    connections: Mapping[str, ResolvedConnection]
    environment_variables: Mapping[str, str] = field(default_factory=dict)
    target: RunRequest | RunRecord | None = None
    repeats: int = 1
    resamples: int = 0
    rows: Sequence[int] | None = None
    concurrency: int = 16
    line_timeout_s: float = 600.0
    is_required: bool = True
    about: RunAbout = field(default_factory=RunAbout)


class RunLog(NamedTuple):
    """What a run wrote so far.

    Attributes:
        is_whole: nothing more will come.
    """

    text: str
    is_whole: bool = True


class Finding(NamedTuple):
    """What a look at a backend found, for `llmops doctor`.

    Attributes:
        fix: what to do; empty when all is well.
        exit_code: of commands that founder on it; None when all is well.
    """

    name: str
    found: str
    fix: str = ""
    exit_code: ExitCode | None = None


class Progress(Protocol):
    """Is told how far runs are; may be called very often."""

    def update(self, label: str, *, done: int, total: int, failed: int = 0, unmeasured: int = 0) -> None:
        """Report that `done` of `total` lines of the run `label` are finished."""

    def close(self) -> None:
        """Clear what is drawn, before other text is written."""


class RunReader(Protocol):
    """Knows the runs that there are."""

    def lines(self, run: RunRecord) -> Iterator[Line]:
        """Yield the lines of a run, ordered by row and repeat."""

    def find(self, run_id: str) -> RunRecord | None:
        """Return the record of a run, None when there is none."""

    def list_all(self) -> Sequence[RunRecord]:
        """Return all runs, newest first."""

    def read_log(self, run_id: str) -> RunLog:
        """Return what a run wrote so far; nothing for a run that wrote nothing or is not known."""


class Runs(RunReader, Protocol):
    """Runs flows over data sets."""

    def run(self, requests: Sequence[RunRequest], progress: Progress) -> Sequence[RunRecord | LlmopsError]:
        """Bring every request to its end and return the records in the same order.

        A request that is not required, and each that evaluates it, may end in the error that kept it from running.

        Guarantees: a finished line is durable before it is reported; the same request finds the lines that are
        already there and runs only the others; an evaluation request starts when its target (in `requests` or run
        before) has ended. Lines that fail are in the record, never an exception.

        Raises:
            UsageError: a flow does not load.
            BackendError: the model or the backend is unusable before the first line.
        """

    def submit(self, requests: Sequence[RunRequest]) -> Sequence[RunRecord]:
        """Start what can start now and return without waiting; `wait`, also in another process, goes on.

        Guarantees: as for `run`: the same request is started once.

        Raises:
            UsageError: the backend runs only while it is watched.
        """

    def wait(self, run_id: str, progress: Progress) -> RunRecord:
        """Bring a run that `submit` started to its end.

        Raises:
            UsageError: there is no such run.
            DeadlineError: it took longer than the environment allows; it goes on.
        """

    def cancel(self, run_id: str) -> None:
        """Ask a run to end; one that has ended stays as it is.

        Raises:
            UsageError: there is no such run.
        """


class Trial(Protocol):
    """A loaded flow that takes inputs one by one; nothing is read from a cache or kept in it."""

    log: Path
    """What the flow printed."""

    async def run(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run one input.

        Returns:
            The worker's answer, see `engine/worker/protocol.md`, with `nodes`; a time-out or a crash is a failed line,
            after which the trial is over.
        """


@runtime_checkable
class KeepsLines(Protocol):
    """What `Runs` may know beside: which lines it need not run again."""

    def count_missing(self, request: RunRequest) -> int:
        """Return how many lines a request would run: those that no run before has measured."""


class Clock(Protocol):
    """The time, as a collaborator, so that a rollout of hours can be tried in no time."""

    def now(self) -> float:
        """Return seconds since the epoch, UTC."""

    def sleep(self, seconds: float) -> None:
        """Return when that many seconds have passed."""


class Registry(Protocol):
    """Keeps registered versions: packages that never change, and the documents that speak for them.

    Every method may raise `TransientError` (it may or may not have taken effect; calling again is safe) and
    `BackendError` (it will not work).
    """

    def register(self, package: Path, *, name: str, digest: str, created_by: str) -> ModelRecord:
        """Keep a copy of a package under the next version of a name.

        Guarantees: atomic, and idempotent on the digest: when the name has a version with this digest, that version
        is returned and nothing is kept, also when several callers race. Versions are whole numbers from 1. What is
        kept never changes.

        Args:
            package: folder with `manifest.json` at its top and every file that it lists.
            name: of the model.
            digest: the manifest's `digest`.
            created_by: who or which run, for people.
        """

    def find(self, name: str, version: str) -> ModelRecord | None:
        """Return one version, None when there is none."""

    def find_digest(self, name: str, digest: str) -> ModelRecord | None:
        """Return the version with this content, None when there is none."""

    def list_models(self) -> Sequence[ModelRecord]:
        """Return every version of every name, by name, newest version first."""

    def fetch(self, model: ModelRecord) -> Path:
        """Return a local folder with the package, to be read and never written; the caller verifies its bytes."""

    def add_evidence(self, model: ModelRecord, evidence: EvidenceRef, content: bytes) -> ModelRecord:
        """Attach a document to a version; the same document twice is one. Returns the version as it is now."""

    def read_evidence(self, model: ModelRecord, evidence: EvidenceRef) -> bytes:
        """Return the bytes of an attached document; the caller verifies them.

        Raises:
            UsageError: the document is gone.
        """


@dataclass(frozen=True, kw_only=True)
class DeploymentRequest:
    """What a deployment is made from.

    Attributes:
        name: free on the endpoint, or taken by a deployment of this very model.
        model: the version; its digest is what `Endpoint.deployments[name].digest` will say.
        package: folder with the verified package, see `Registry.fetch`.
        connections: what the flow needs, secrets resolved; they go to the serving process and nowhere else.
        environment_variables: literal values or `${env:NAME}` references.
        tags: written with the deployment, in the same step.
        settings: what only this backend knows, from the environment's configuration, for instance `instance_type`.
        capture_percent: share of live requests whose inputs and outputs are kept to be scored, see
            `Endpoints.read_captured`; 0, without the consent of the environment's configuration, keeps none.
    """

    name: str
    model: ModelRecord
    package: Path
    connections: Mapping[str, ResolvedConnection] = field(default_factory=dict)
    environment_variables: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    capture_percent: int = 0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What an endpoint answered to one request.

    Attributes:
        status: HTTP status; 0 when the request got no answer.
        outputs: the answer's JSON object; None when the answer is none.
        text: the beginning of an answer that is no JSON object, or why there is none.
        deployment: which deployment answered; empty when the endpoint does not say.
        duration_s: until the last byte, seconds.
        request_id: as the endpoint logged it.
    """

    status: int
    outputs: Mapping[str, Any] | None = None
    text: str = ""
    deployment: str = ""
    duration_s: float = 0.0
    request_id: str = ""


@dataclass(frozen=True, kw_only=True)
class CapturedAnswer:
    """One live request with its answer, as it was kept with the consent of the environment's configuration.

    Attributes:
        at: seconds since the epoch, when the request came.
        request_id: as the endpoint logged it.
        duration_s: until the last byte of the answer, seconds.
    """

    at: float
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    request_id: str = ""
    duration_s: float = 0.0


class Endpoints(Protocol):
    """Keeps endpoints, their deployments and their traffic.

    Nothing but what is in here is kept between two drivers: all that a rollout needs to go on is in the tags.

    Every method may raise `TransientError` (it may or may not have taken effect; calling again is safe),
    `BackendError` (it will not work) and, for a name that no backend accepts, `UsageError`. Writes are not fenced by
    the lease: the driver checks it first, and plans tolerate one write that comes late.
    """

    def acquire_lease(self, endpoint: str, *, token: str, owner: str, link: str, duration_s: float) -> Lease:
        """Take the right to change an endpoint, which need not exist yet.

        Guarantees: one atomic step: of several callers one gets it. It can be had when nobody holds it, when it has
        expired, and by the token that holds it, which extends it.

        Raises:
            LeaseHeldError: who holds it, since which run, and until when.
        """

    def renew_lease(self, lease: Lease, *, duration_s: float) -> Lease:
        """Extend a lease from now on.

        Guarantees: atomic; it works as long as no other token took the lease, even when it has expired.

        Raises:
            LeaseLostError: another token holds or held it since, or it was released.
        """

    def release_lease(self, lease: Lease) -> None:
        """Give the lease back; without effect when this token does not hold it."""

    def read_lease(self, endpoint: str) -> Lease | None:
        """Return the lease as it is held, None when nobody holds it or it has expired."""

    def list_endpoints(self) -> Sequence[str]:
        """Return the names of all endpoints, sorted."""

    def observe(self, endpoint: str) -> Endpoint | None:
        """Return the endpoint with its deployments, None when there is none.

        Guarantees: it shows every write that has returned; a deployment is `healthy` only when it answers now.
        """

    def ensure_endpoint(self, endpoint: str, *, tags: Mapping[str, str]) -> None:
        """Create an endpoint without deployments and traffic; one that exists is left as it is, tags too."""

    def update_endpoint(
        self,
        endpoint: str,
        *,
        traffic: Mapping[str, int] | None = None,
        mirror: Mapping[str, int] | None = None,
        tags: Mapping[str, str | None] | None = None,
    ) -> None:
        """Change an endpoint; what is None stays.

        Guarantees: all of it in one atomic step: no observer and no request sees a part. No request fails because
        the split changes; those in flight are answered where they went.

        Args:
            endpoint: which exists.
            traffic: the whole new split: whole percents over deployments that exist, sum 0 or 100.
            mirror: the whole new mirror: nothing, or one deployment that exists.
            tags: are merged; a value of None removes the tag.

        Raises:
            UsageError: the split is not one, or names a deployment that does not exist.
        """

    def find_obstacles(self, endpoint: str, request: DeploymentRequest) -> Sequence[Problem]:
        """Say what would keep a deployment from being made or from working, before anything is created.

        Guarantees: changes nothing; a backend that cannot look ahead returns nothing.

        Args:
            endpoint: which need not exist.
            request: for the deployment; its name counts for nothing.
        """

    def reach_stand_in(self, connections: Mapping[str, ResolvedConnection]) -> bool:
        """Tell whether the stand-in model, which is no real model, answers deployments with these connections."""

    def create_deployment(self, endpoint: str, request: DeploymentRequest) -> None:
        """Start a deployment at 0 % and return before it is healthy; `observe` tells how it goes.

        Guarantees: a deployment of this name with the same digest is left as it is, whatever its status. One request
        makes one deployment.

        Raises:
            UsageError: a deployment of this name serves other content.
        """

    def tag_deployment(self, endpoint: str, deployment: str, tags: Mapping[str, str | None]) -> None:
        """Merge tags in one atomic step; a value of None removes the tag.

        Raises:
            UsageError: no such deployment.
        """

    def delete_deployment(self, endpoint: str, deployment: str) -> None:
        """Drain and remove a deployment; one that is gone is fine.

        Raises:
            UsageError: it has traffic or is mirrored to.
        """

    def score(
        self, endpoint: str, inputs: Mapping[str, Any], *, deployment: str | None = None, timeout_s: float = 60.0
    ) -> Answer:
        """Send one request through the endpoint's own address, with its own key.

        May be called from several threads. An answer of any status is an answer; so is none (status 0).

        Args:
            endpoint: which exists.
            inputs: the flow's inputs; the request's whole body.
            deployment: asks this one, past the traffic split; None lets the split decide.
            timeout_s: seconds until the request is given up.
        """

    def measure(self, endpoint: str, *, start: float, end: float) -> Mapping[str, Window]:
        """Return what each deployment did with the live requests that came between two moments.

        Asked again later, with the same moments, it knows the answers that were given meanwhile.

        Args:
            endpoint: which exists.
            start, end: seconds since the epoch.
        """

    def read_captured(
        self, endpoint: str, *, start: float, end: float, limit: int
    ) -> Mapping[str, Sequence[CapturedAnswer]]:
        """Return, by deployment, what was kept of live requests that came between two moments, oldest first.

        Only answers of status 200 whose inputs and outputs are JSON objects are kept, and only of deployments that were
        made with `DeploymentRequest.capture_percent`; mirrored copies count. What was kept may be forgotten after a
        day. A backend that cannot keep answers returns nothing.

        Args:
            endpoint: which exists.
            start, end: seconds since the epoch.
            limit: of each deployment the newest so many at most.
        """

    def read_logs(self, endpoint: str, deployment: str, *, lines: int = 200) -> str:
        """Return the last lines that a deployment wrote, its start included; empty when there are none."""
