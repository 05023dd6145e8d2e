"""Runs in an Azure Machine Learning workspace: started once, watched, fetched, and kept as records like all others."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from llmops.backends.azure.arm import Arm
from llmops.backends.azure.child_runs import given_inputs, to_line
from llmops.backends.azure.flow_runs import FlowRuns
from llmops.backends.azure.job_runs import JobRuns
from llmops.backends.azure.models import find_run_obstacles
from llmops.backends.azure.resampling import resample
from llmops.backends.azure.run_service import PAGE, RemoteRun, RunService
from llmops.backends.azure.session import AzureSession, import_in_background, open_session
from llmops.backends.azure.shares import NO_LIMIT, NOTHING, Shares, is_limited, is_spent
from llmops.backends.azure.work import (
    PREFIX,
    Compute,
    Outcome,
    PendingRuns,
    Work,
    aggregates,
    begin_record,
    identify,
    now,
)
from llmops.backends.line_counts import LineCounts
from llmops.backends.planned_lines import PlannedLine, plan_lines
from llmops.backends.protocols import Progress, RunLog, RunRequest, Runs
from llmops.backends.recorded import RecordedRuns
from llmops.config.model import Budget, Environment
from llmops.core.documents import to_json
from llmops.core.latency import summarize_latency
from llmops.engine.gateway.settings import ModelUse
from llmops.errors import BackendError, DeadlineError, LlmopsError, TransientError, UsageError
from llmops.records import DatasetRef, FlowRef, Line, LineError, PendingRecord, RunRecord

_EMPTY_PAGES = 4
"""Pages without a line after which a run of unknown length is taken to have no more."""


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Monotonic seconds, and waiting."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class AzureRuns:
    """`Runs` in a workspace; the SDKs are imported when a workspace must really be asked.

    Args:
        environment: names the workspace.
        state: the project's `.llmops/` folder.
        env: environment variables.
        say: takes a sentence for people.
        open_here: opens the runs of this machine, which score built-in metrics.
        clock: for waiting.
        use: its occasion, and its budget, which jobs hold.
    """

    def __init__(
        self,
        environment: Environment,
        state: Path,
        env: Mapping[str, str],
        say: Callable[[str], None],
        open_here: Callable[[], AbstractContextManager[Runs]],
        clock: Clock | None = None,
        use: ModelUse | None = None,
    ) -> None:
        self.use = use or ModelUse()
        self.environment = environment
        self.settings = environment.azure.runs
        self.shares = Shares(self.use.budget if self.settings.compute == "job" else NO_LIMIT)
        self.state = state
        self.env = env
        self.say = say
        self.recorded = RecordedRuns(state)
        self.pending = PendingRuns(state)
        self.clock = clock or Clock()
        self._open_here = open_here

    @cached_property
    def session(self) -> AzureSession:
        """The workspace as this process reaches it."""
        return open_session(self.environment, self.state, self.env)

    @cached_property
    def service(self) -> RunService:
        """The prompt flow runs of the workspace."""
        return RunService(self.session, self.settings.call_timeout_s)

    @cached_property
    def compute(self) -> Compute:
        """What runs the lines."""
        if self.settings.compute == "job":
            return JobRuns(self.session, self.environment, self.state, self.env)
        return FlowRuns(self.service, self.settings, self.state, self.env, self.clock.sleep)

    def run(self, requests: Sequence[RunRequest], progress: Progress) -> Sequence[RunRecord | LlmopsError]:
        """See `Runs.run`."""
        jobs: dict[int, _Job] = {}
        for request in requests:
            target = jobs[id(request.target)] if isinstance(request.target, RunRequest) else request.target
            jobs[id(request)] = _Job(runs=self, request=request, target=target, progress=progress)
        self._bring(list(jobs.values()))
        return [job.outcome for job in jobs.values() if job.outcome is not None]

    def submit(self, requests: Sequence[RunRequest]) -> Sequence[RunRecord]:
        """See `Runs.submit`."""
        jobs = []
        for request in requests:
            if isinstance(request.target, RunRequest):
                raise UsageError.of("a run that has not ended cannot be evaluated yet", where="--detach")
            jobs.append(_Job(runs=self, request=request, target=request.target, progress=_Silent()))
        self._bring(jobs, _Job.start)
        return [job.outcome for job in jobs if isinstance(job.outcome, RunRecord)]

    def wait(self, run_id: str, progress: Progress) -> RunRecord:
        """See `Runs.wait`."""
        known = self.recorded.find(run_id)
        pending = self.pending.find(run_id)
        if pending is None:
            return known or self._wait_for_remote(run_id, progress)
        job = _Job(runs=self, progress=progress, work=self.pending.read(pending))
        self._bring([job])
        assert isinstance(job.outcome, RunRecord)
        return job.outcome

    def _wait_for_remote(self, run_id: str, progress: Progress) -> RunRecord:
        watch = Watch(self, run_id, progress)
        for _ in watch.follow(run_id, total=0):
            self.clock.sleep(self.settings.poll_s)
        record = self.find(run_id)
        if record is None:
            raise UsageError.of("no such run", where="run", found=f"'{run_id}'")
        return record

    def cancel(self, run_id: str) -> None:
        """See `Runs.cancel`."""
        names = self._names(run_id)
        if not names:
            raise UsageError.of("no such run", where="run", found=f"'{run_id}'")
        for name in names:
            self.compute.cancel(name)

    def lines(self, run: RunRecord) -> Iterator[Line]:
        """See `Runs.lines`."""
        return self.recorded.lines(run)

    def find(self, run_id: str) -> RunRecord | None:
        """See `Runs.find`; a run of the workspace that has ended is fetched and kept, as if it had been made here."""
        known = self.recorded.find(run_id)
        if known is not None:
            return known
        pending = self.pending.find(run_id)
        remote = self.service.find(run_id)
        if pending is not None:
            return replace(pending.run, status=remote.status if remote else "not started", link=_link(remote))
        if remote is None:
            return None
        if not remote.has_ended:
            return _from_remote(remote, self.environment.name)
        return self._fetch(remote)

    def list_all(self) -> Sequence[RunRecord]:
        """See `Runs.list_all`; of those that only the workspace knows, the newest."""
        here = [record for record in self.recorded.list_all() if record.environment == self.environment.name]
        begun = {pending.run.id: pending.run for pending in self.pending.list_all()}
        known = {name for record in here for name in (record.id, *record.remote)}
        elsewhere = [remote for remote in self.service.list_newest() if remote.name not in known]
        there = [
            replace(begun[remote.name], status=remote.status)
            if remote.name in begun
            else _from_remote(remote, self.environment.name)
            for remote in elsewhere
        ]
        return sorted([*here, *there], key=lambda record: record.ended_at or record.started_at, reverse=True)

    def read_log(self, run_id: str) -> RunLog:
        """See `Runs.read_log`."""
        texts, is_whole = [], True
        for name in self._names(run_id):
            remote = self.compute.find(name)
            texts.append(self.compute.read_log(name) if remote else "")
            is_whole = remote is None or remote.has_ended
        return RunLog("\n".join(text.rstrip("\n") for text in texts), is_whole)

    def _names(self, run_id: str) -> Sequence[str]:
        """Return the names under which the workspace knows a run, in order."""
        known = self.recorded.find(run_id)
        if known is not None and known.remote:
            return known.remote
        pending = self.pending.find(run_id)
        work = Work(pending=pending, planned=()) if pending else None
        names: list[str] = []
        while True:
            name = work.name(len(names) + 1) if work else run_id
            if name in names or self.compute.find(name) is None:
                return names
            names.append(name)

    def _fetch(self, remote: RemoteRun) -> RunRecord:
        lines = sorted(self._read_remote_lines(remote), key=lambda line: line.row)
        counts = LineCounts()
        self.recorded.write_lines(remote.name, _texts(lines, counts))
        metrics = self.service.read_metrics(remote.name) if remote.status == "Completed" else {}
        error = None
        if remote.status != "Completed":
            error = LineError(type=remote.error_code or remote.status, message=remote.error)
        base = _from_remote(remote, self.environment.name)
        record = replace(_with_counts(base, counts), metrics=metrics, aggregation_error=error, status="")
        self.recorded.write(record)
        return record

    def _read_remote_lines(self, remote: RemoteRun) -> Iterator[Line]:
        first, empty = 0, 0
        while empty < _EMPTY_PAGES:
            page = self.service.read_page(remote.name, first)
            for child in page:
                yield to_line(child, PlannedLine(int(child["index"]), 0, given_inputs(child)))
            first, empty = first + PAGE, 0 if page else empty + 1

    def _bring(self, jobs: Sequence[_Job], steps_of: Callable[[_Job], _Steps] | None = None) -> None:
        """Bring all jobs to their end, or as far as `steps_of` goes, looking at each in turn."""
        left = {id(job): (job, steps_of(job) if steps_of else job.bring()) for job in jobs}
        try:
            while left:
                ended = [key for key, (job, steps) in left.items() if _has_ended(job, steps)]
                for key in ended:
                    del left[key]
                if left and not ended and not self.shares.can_give:
                    self.clock.sleep(self.settings.poll_s)
        except KeyboardInterrupt:
            self._interrupted([job for job, _ in left.values()])
            raise

    def _interrupted(self, jobs: Sequence[_Job]) -> None:
        for job in jobs:
            if not job.under_way:
                continue
            if self.settings.cancel_on_interrupt:
                self.compute.cancel(job.under_way)
                self.say(f"The run {job.under_way} was asked to end.")
            else:
                self.say(f"The run {job.under_way} goes on; `llmops runs cancel {job.under_way}` ends it.")


_Steps = Generator[None, None, RunRecord]


def _has_ended(job: _Job, steps: _Steps) -> bool:
    try:
        next(steps)
    except StopIteration as stop:
        job.outcome = stop.value
        return True
    except LlmopsError as error:
        if job.is_required:
            raise
        job.outcome = error
        return True
    return False


class _Silent:
    """A `Progress` that nobody looks at."""

    def update(self, label: str, *, done: int, total: int, failed: int = 0, unmeasured: int = 0) -> None:
        """See `Progress.update`."""

    def close(self) -> None:
        """See `Progress.close`."""


@dataclass(frozen=True)
class Watch:
    """Looks at a try in the workspace until it has ended."""

    runs: AzureRuns
    label: str
    progress: Progress

    def follow(self, name: str, total: int) -> Generator[None, None, RemoteRun]:
        """Yield while it goes on; return it when it has ended.

        Raises:
            DeadlineError: it takes longer than the environment allows.
        """
        began, status, done = self.runs.clock.now(), "", 0
        limit = self.runs.settings.timeout_s
        while True:
            remote = self.runs.compute.find(name)
            if remote is not None and remote.has_ended:
                return remote
            if self.runs.clock.now() - began >= limit:
                raise _too_late(name, remote, limit)
            if remote is not None and remote.status != status:
                status = remote.status
                self.runs.say(f"{self.label}: {name} is {status}. {remote.link}".rstrip())
            if status == "Running":
                with contextlib.suppress(TransientError):  # how far it is decides nothing
                    done = self.runs.compute.count_finished(name)
            self.progress.update(self.label, done=min(done, total), total=total)
            yield


def _too_late(name: str, remote: RemoteRun | None, limit: float) -> DeadlineError:
    status = remote.status if remote else "not to be found"
    return DeadlineError.of(
        f"the run has not ended within {limit:g} s",
        where=name,
        found=f"it is {status}; {_link(remote)}".rstrip("; "),
        fix=f"It goes on: the same command, or `llmops runs wait {name}`, attaches to it again. "
        "azure.runs.timeout_s allows more.",
    )


@dataclass(eq=False, kw_only=True)
class _Job:
    """One request, or one run that was started before, on its way to a record.

    Attributes:
        under_way: name of the try that runs now; empty when none does.
    """

    runs: AzureRuns
    progress: Progress
    request: RunRequest | None = None
    target: _Job | RunRecord | None = None
    work: Work | None = None
    outcome: RunRecord | LlmopsError | None = None
    under_way: str = ""
    _lines: dict[int, Line] = field(default_factory=dict)
    _tries: list[RemoteRun] = field(default_factory=list)
    _last: Outcome = field(default_factory=lambda: Outcome({}))
    _cached: int = 0

    @property
    def is_required(self) -> bool:
        return self.request is None or self.request.is_required

    def start(self) -> _Steps:
        """Start what is not there yet; yield until that is decided and return without waiting for its end."""
        assert not isinstance(self.target, _Job)
        if (known := self._recorded(self.target)) is not None:
            return known
        work = self._prepare(self.target)
        for number in itertools.count(1):
            todo, name = self._todo(work), work.name(number)
            if not todo:
                return self._finish(work)
            remote = self._find(work, name)
            if remote is None:
                if not (yield from self._launch(work, todo, name)):
                    return self._finish(work)
                remote = self._find(work, name)
            if remote is None or not remote.has_ended:
                self.runs.shares.give_up(name)  # nobody waits for its end here
                status = remote.status if remote else "submitted"
                return replace(work.pending.run, status=status, link=_link(remote), remote=[name])
            self._take(work, todo, remote, is_cached=True)
        raise AssertionError("unreachable")

    def bring(self) -> _Steps:
        """Yield while there is something to wait for; return the record."""
        target = yield from self._await_target()
        if isinstance(target, LlmopsError):
            raise target
        if self.request is not None and _is_ours(self.request):
            return self._score_here(self.request, target)
        record = self._recorded(target) if self.work is None else None
        if record is None:
            work = self.work or self._prepare(target)
            yield from self._try(work)
            record = self._finish(work)
        return self._resampled(self.request, target, record) if self.request is not None else record

    def _await_target(self) -> Generator[None, None, RunRecord | LlmopsError | None]:
        if not isinstance(self.target, _Job):
            return self.target
        while self.target.outcome is None:
            yield
        return self.target.outcome

    def _resampled(self, request: RunRequest, target: RunRecord | None, record: RunRecord) -> RunRecord:
        runs = self.runs
        open_here = runs._open_here  # noqa: SLF001 a job is a part of its runs
        found = resample(request, target, record, open_here=open_here, progress=self.progress, say=runs.say)
        if found is not record:
            runs.recorded.write(found)
        return found

    def _score_here(self, request: RunRequest, target: RunRecord | None) -> RunRecord:
        with self.runs._open_here() as here:  # noqa: SLF001 a job is a part of its runs
            (outcome,) = here.run([replace(request, target=target)], self.progress)
        if isinstance(outcome, LlmopsError):
            raise outcome
        return outcome

    def _place(self) -> str:
        occasion = f" at {self.runs.use.occasion}" if self.runs.use.occasion else ""
        return f"{self.runs.session.settings.workspace_id.lower()} {self.runs.settings.compute == 'job'}{occasion}"

    def _recorded(self, target: RunRecord | None) -> RunRecord | None:
        """Return the record of an earlier command if every line of it was measured."""
        assert self.request is not None
        record = self.runs.recorded.find(identify(self.request, target, self._place()))
        if record is None or record.unmeasured or record.aggregation_error:
            return None
        if not self.runs.recorded.has_lines(record.id):
            return None
        self.progress.update(self.request.label, done=record.lines, total=record.lines, failed=record.failed)
        return replace(record, cached=record.lines)

    def _prepare(self, target: RunRecord | None) -> Work:
        assert self.request is not None
        import_in_background("azure.ai.ml" if self.runs.settings.compute == "job" else "promptflow.azure")
        record = begin_record(self.request, target, identify(self.request, target, self._place()))
        planned = list(plan_lines(self.request, target, self.runs.lines))
        pending = PendingRecord(run=record, aggregates=aggregates(self.request))
        work = Work(pending=pending, planned=planned, request=self.request, target=target)
        self.runs.pending.write(work)
        return work

    def _try(self, work: Work) -> Generator[None, None, None]:
        """Go through the tries that there are, and start one more where lines are left that nobody measured."""
        is_new, watched = False, False
        for number in itertools.count(1):
            todo, name = self._todo(work), work.name(number)
            if not todo or watched:
                return
            remote = self._find(work, name)
            if remote is None and (is_new or work.request is None):
                return
            if remote is None:
                if not (yield from self._launch(work, todo, name)):
                    return
                is_new = True
            watched = remote is None or not remote.has_ended
            yield from self._watch(work, todo, name, is_cached=not watched)

    def _find(self, work: Work, name: str) -> RemoteRun | None:
        """Look for a try; one that goes on is counted with what it was given, by whichever command."""
        remote = self.runs.compute.find(name)
        if remote is not None and not remote.has_ended and work.pending.run.connections:
            self.runs.shares.hold(name, remote.share)
        return remote

    def _watch(self, work: Work, todo: Sequence[int], name: str, *, is_cached: bool) -> Generator[None, None, None]:
        """Wait for the end of a try and take what came of it."""
        shares = self.runs.shares
        label = work.request.label if work.request else work.id
        self.under_way = name
        try:
            remote = yield from Watch(self.runs, label, self.progress).follow(name, len(todo))
            self.under_way = ""
            self._take(work, todo, remote, is_cached=is_cached)
            if not is_cached and work.pending.run.connections:
                shares.settle(name, self._last.spent)
        finally:
            shares.give_up(name)

    def _launch(self, work: Work, todo: Sequence[int], name: str) -> Generator[None, None, bool]:
        """Start a try, unless it could not reach its models, or nothing of the budget is left for it.

        Returns:
            Whether it was started; else its lines are unmeasured.

        Raises:
            BackendError: a connection or a model deployment is missing, or a model is retired.
        """
        assert work.request is not None
        is_job = self.runs.settings.compute == "job"
        with contextlib.closing(Arm(self.runs.session)) as arm:
            if obstacles := find_run_obstacles(arm, work.request, is_job=is_job):
                raise BackendError(*obstacles)
        share = yield from self._await_share(work, todo, name)
        if is_spent(share):
            self.runs.shares.settle(name, NOTHING)
            self._leave_over(work, todo)
            return False
        try:
            if is_limited(share) and self._find(work, name) is not None:
                return True  # started meanwhile: two flows that answer alike are evaluated in one run
            share = self.runs.compute.start(name, work, todo, share)
        except LlmopsError:
            self.runs.shares.give_up(name)
            raise
        if work.pending.run.connections:
            self.runs.shares.hold(name, share)
        return True

    def _await_share(self, work: Work, todo: Sequence[int], name: str) -> Generator[None, None, Budget]:
        """Yield until it is known what a try may spend: all that start with it must have asked."""
        shares = self.runs.shares
        if not is_limited(shares.budget) or not work.pending.run.connections:
            return NO_LIMIT  # it makes no calls that anybody could count
        shares.ask(name, len(todo))
        while True:
            yield
            if (share := shares.take(name)) is not None:
                return share

    def _leave_over(self, work: Work, todo: Sequence[int]) -> None:
        assert work.request is not None
        label = work.request.label
        self.runs.say(f"{label}: nothing is left of the budget, so no job is started; lines are unmeasured.")
        error = LineError(type="BudgetSpent", message="nothing was left of the budget when this run was to start")
        for index in todo:
            line = work.planned[index]
            unmeasured = Line(row=line.row, repeat=line.repeat, status="unmeasured", inputs=line.inputs, error=error)
            self._lines.setdefault(index, unmeasured)

    def _todo(self, work: Work) -> list[int]:
        """Name the lines that still need an answer; nodes over all lines need them all in one try."""
        final = [index for index, line in self._lines.items() if line.status != "unmeasured"]
        left = [index for index in work.runnable if index not in set(final)]
        if not left and not self._last.aggregation_error:
            return []
        return work.runnable if work.pending.aggregates else left

    def _take(self, work: Work, todo: Sequence[int], remote: RemoteRun, *, is_cached: bool) -> None:
        self._last = self.runs.compute.read(remote, work, todo)
        self._tries.append(remote)
        self._lines.update(self._last.lines)
        self._cached += len(self._last.lines) if is_cached else 0
        label = work.request.label if work.request else work.id
        failed = sum(line.status == "failed" for line in self._lines.values())
        self.progress.update(label, done=len(self._lines), total=len(work.planned), failed=failed)

    def _finish(self, work: Work) -> RunRecord:
        missing = [index for index in work.runnable if index not in self._lines]
        last = self._tries[-1] if self._tries else None
        if missing and (last is None or last.status != "Completed"):
            raise _ended_early(work, last, len(missing))
        counts = LineCounts()
        self.runs.recorded.write_lines(work.id, _texts(self._in_order(work), counts))
        record = replace(
            _with_counts(work.pending.run, counts),
            cached=self._cached,
            ended_at=now(),
            metrics=dict(self._last.metrics),
            aggregation_error=self._last.aggregation_error,
            versions=dict(self._last.versions),
            remote=[remote.name for remote in self._tries],
            link=_link(last),
            status="",
        )
        self.runs.recorded.write(record)
        self.runs.pending.forget(work.id)
        return record

    def _in_order(self, work: Work) -> Iterator[Line]:
        for index, planned in enumerate(work.planned):
            line = self._lines.get(index)
            if line is not None:
                yield line
                continue
            error = planned.error or LineError(type="NoAnswer", message="the service gave no answer for this line")
            yield Line(row=planned.row, repeat=planned.repeat, status="unmeasured", inputs=planned.inputs, error=error)


def _ended_early(work: Work, last: RemoteRun | None, missing: int) -> LlmopsError:
    if last is None:
        return UsageError.of("the run was never started", where=work.id, fix="Run the command that asks for it.")
    kind = UsageError if last.error_code == "UserError" else BackendError
    what = "the run was canceled" if last.status == "Canceled" else "the run failed"
    return kind.of(
        what,
        where=last.name,
        found=last.error or f"{missing} of {len(work.planned)} lines have no answer",
        fix=f"See its log: llmops runs logs {work.id}. {last.link} The same command runs what is left.",
    )


def _is_ours(request: RunRequest) -> bool:
    """Tell whether the flow is a built-in metric, which is no file of the project."""
    return request.source.flow.kind == "callable" and not request.source.closure.files


def _link(remote: RemoteRun | None) -> str:
    return remote.link if remote else ""


def _texts(lines: Iterator[Line] | Sequence[Line], counts: LineCounts) -> Iterator[str]:
    for line in lines:
        counts.add(line)
        yield json.dumps(to_json(line), ensure_ascii=False)


def _with_counts(record: RunRecord, counts: LineCounts) -> RunRecord:
    return replace(
        record,
        completed=counts.completed,
        failed=counts.failed,
        unmeasured=counts.unmeasured,
        tokens=counts.tokens,
        cost_usd=counts.cost_usd,
        latency_s=summarize_latency(counts.durations_s),
        lines_digest=counts.digest,
    )


def _from_remote(remote: RemoteRun, environment: str) -> RunRecord:
    """Describe a run that only the workspace knows."""
    tags = {name.removeprefix(PREFIX): value for name, value in remote.tags.items() if name.startswith(PREFIX)}
    flow = FlowRef(path=tags.get("flow") or remote.flow, digest=tags.get("digest", ""), commit=tags.get("commit"))
    data = DatasetRef(
        name=tags.get("data", ""), path=tags.get("data") or remote.data, digest=tags.get("data_digest", ""), rows=0
    )
    counts = {kind: _metric(remote, f"__pf__.lines.{kind}") for kind in ("completed", "failed")}
    return RunRecord(
        id=remote.name,
        experiment=tags.get("experiment", ""),
        flow=flow,
        dataset=replace(data, rows=counts["completed"] + counts["failed"]),
        column_mapping={},
        environment=environment,
        connections={},
        repeats=1,
        completed=counts["completed"],
        failed=counts["failed"],
        unmeasured=0,
        cached=0,
        started_at=remote.started_at or remote.created_at,
        ended_at=remote.ended_at,
        target=tags.get("evaluates") or remote.target or None,
        remote=[remote.name],
        link=remote.link,
        status=remote.status,
    )


def _metric(remote: RemoteRun, name: str) -> int:
    value = remote.metrics.get(name)
    if isinstance(value, Mapping):
        value = value.get("lastValue")
    return int(value) if isinstance(value, (int, float)) else 0
