"""One request on its way to a record: the tries that it takes in the workspace."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from llmops.backends.azure.arm import Arm
from llmops.backends.azure.models import WorkspaceModels, find_run_obstacles
from llmops.backends.azure.remote_record import is_stand_in, link_of, texts_of, with_counts
from llmops.backends.azure.resampling import resample
from llmops.backends.azure.run_service import RemoteRun
from llmops.backends.azure.session import import_in_background
from llmops.backends.azure.shares import NO_LIMIT, NOTHING, is_limited, is_spent
from llmops.backends.azure.work import Outcome, Work, aggregates, begin_record, identify, now
from llmops.backends.line_counts import LineCounts
from llmops.backends.planned_lines import plan_lines
from llmops.backends.protocols import Progress, RunRequest
from llmops.config.model import Budget
from llmops.errors import BackendError, DeadlineError, LlmopsError, TransientError, UsageError
from llmops.records import Line, LineError, PendingRecord, RunRecord

if TYPE_CHECKING:
    from llmops.backends.azure.runs import AzureRuns

Steps = Generator[None, None, RunRecord]


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
        found=f"it is {status}; {link_of(remote)}".rstrip("; "),
        fix=f"It goes on: the same command, or `llmops runs wait {name}`, attaches to it again. "
        "azure.runs.timeout_s allows more.",
    )


@dataclass(eq=False, kw_only=True)
class Tries:
    """One request, or one run that was started before, on its way to a record.

    Attributes:
        target: what is evaluated; None for a run of the flow itself.
        outcome: set when all is over.
        under_way: name of the try that runs now; empty when none does.
    """

    runs: AzureRuns
    progress: Progress
    request: RunRequest | None = None
    target: Tries | RunRecord | None = None
    work: Work | None = None
    outcome: RunRecord | LlmopsError | None = None
    under_way: str = ""
    _lines: dict[int, Line] = field(default_factory=dict)
    _tries: list[RemoteRun] = field(default_factory=list)
    _last: Outcome = field(default_factory=lambda: Outcome({}))
    _cached: int = 0

    @property
    def is_required(self) -> bool:
        """Whether all other requests end when this one cannot run."""
        return self.request is None or self.request.is_required

    def start(self) -> Steps:
        """Start what is not there yet; yield until that is decided and return without waiting for its end."""
        assert not isinstance(self.target, Tries)
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
                return replace(work.pending.run, status=status, link=link_of(remote), remote=[name])
            self._take(work, todo, remote, is_cached=True)
        raise AssertionError("unreachable")

    def bring(self) -> Steps:
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
        if not isinstance(self.target, Tries):
            return self.target
        while self.target.outcome is None:
            yield
        return self.target.outcome

    def _resampled(self, request: RunRequest, target: RunRecord | None, record: RunRecord) -> RunRecord:
        runs = self.runs
        found = resample(request, target, record, open_here=runs.open_here, progress=self.progress, say=runs.say)
        if found is not record:
            runs.recorded.write(found)
        return found

    def _score_here(self, request: RunRequest, target: RunRecord | None) -> RunRecord:
        with self.runs.open_here() as here:
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
            models = WorkspaceModels(arm)
            if obstacles := find_run_obstacles(models, work.request, is_job=is_job):
                raise BackendError(*obstacles)
            if models.reach_stand_in(work.request.connections):
                work = work.with_stand_in()
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
        final = {index for index, line in self._lines.items() if line.status != "unmeasured"}
        left = [index for index in work.runnable if index not in final]
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
        self.runs.recorded.write_lines(work.id, texts_of(self._in_order(work), counts))
        record = replace(
            with_counts(replace(work.pending.run, stand_in=any(map(is_stand_in, self._tries))), counts),
            cached=self._cached,
            ended_at=now(),
            metrics=dict(self._last.metrics),
            aggregation_error=self._last.aggregation_error,
            versions=dict(self._last.versions),
            remote=[remote.name for remote in self._tries],
            link=link_of(last),
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
