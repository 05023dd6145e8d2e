"""Runs in an Azure Machine Learning workspace: started once, watched, fetched, and kept as records like all others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from llmops.backends.azure.child_runs import given_inputs, to_line
from llmops.backends.azure.flow_runs import FlowRuns
from llmops.backends.azure.job_runs import JobRuns
from llmops.backends.azure.remote_record import from_remote, link_of, texts_of, with_counts
from llmops.backends.azure.run_service import PAGE, RemoteRun, RunService
from llmops.backends.azure.session import AzureSession, open_session
from llmops.backends.azure.shares import NO_LIMIT, Shares
from llmops.backends.azure.tries import Steps, Tries, Watch
from llmops.backends.azure.work import (
    Compute,
    PendingRuns,
    Work,
)
from llmops.backends.line_counts import LineCounts
from llmops.backends.planned_lines import PlannedLine
from llmops.backends.protocols import Progress, RunLog, RunRequest, Runs
from llmops.backends.recorded import RecordedRuns
from llmops.config.model import Environment
from llmops.engine.gateway.settings import ModelUse
from llmops.errors import LlmopsError, UsageError
from llmops.records import Line, LineError, RunRecord

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
        self.open_here = open_here

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
        asked: dict[int, Tries] = {}
        for request in requests:
            target = asked[id(request.target)] if isinstance(request.target, RunRequest) else request.target
            asked[id(request)] = Tries(runs=self, request=request, target=target, progress=progress)
        self._bring(list(asked.values()))
        return [one.outcome for one in asked.values() if one.outcome is not None]

    def submit(self, requests: Sequence[RunRequest]) -> Sequence[RunRecord]:
        """See `Runs.submit`."""
        asked = []
        for request in requests:
            if isinstance(request.target, RunRequest):
                raise UsageError.of("a run that has not ended cannot be evaluated yet", where="--detach")
            asked.append(Tries(runs=self, request=request, target=request.target, progress=_Silent()))
        self._bring(asked, Tries.start)
        return [one.outcome for one in asked if isinstance(one.outcome, RunRecord)]

    def wait(self, run_id: str, progress: Progress) -> RunRecord:
        """See `Runs.wait`."""
        known = self.recorded.find(run_id)
        pending = self.pending.find(run_id)
        if pending is None:
            return known or self._wait_for_remote(run_id, progress)
        tries = Tries(runs=self, progress=progress, work=self.pending.read(pending))
        self._bring([tries])
        assert isinstance(tries.outcome, RunRecord)
        return tries.outcome

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
            return replace(pending.run, status=remote.status if remote else "not started", link=link_of(remote))
        if remote is None:
            return None
        if not remote.has_ended:
            return from_remote(remote, self.environment.name)
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
            else from_remote(remote, self.environment.name)
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
        self.recorded.write_lines(remote.name, texts_of(lines, counts))
        metrics = self.service.read_metrics(remote.name) if remote.status == "Completed" else {}
        error = None
        if remote.status != "Completed":
            error = LineError(type=remote.error_code or remote.status, message=remote.error)
        base = from_remote(remote, self.environment.name)
        record = replace(with_counts(base, counts), metrics=metrics, aggregation_error=error, status="")
        self.recorded.write(record)
        return record

    def _read_remote_lines(self, remote: RemoteRun) -> Iterator[Line]:
        first, empty = 0, 0
        while empty < _EMPTY_PAGES:
            page = self.service.read_page(remote.name, first)
            for child in page:
                yield to_line(child, PlannedLine(int(child["index"]), 0, given_inputs(child)))
            first, empty = first + PAGE, 0 if page else empty + 1

    def _bring(self, asked: Sequence[Tries], steps_of: Callable[[Tries], Steps] | None = None) -> None:
        """Bring all requests to their end, or as far as `steps_of` goes, looking at each in turn."""
        left = {id(one): (one, steps_of(one) if steps_of else one.bring()) for one in asked}
        try:
            while left:
                ended = [key for key, (one, steps) in left.items() if _has_ended(one, steps)]
                for key in ended:
                    del left[key]
                if left and not ended and not self.shares.can_give:
                    self.clock.sleep(self.settings.poll_s)
        except KeyboardInterrupt:
            self._interrupted([one for one, _ in left.values()])
            raise

    def _interrupted(self, asked: Sequence[Tries]) -> None:
        for one in asked:
            if not one.under_way:
                continue
            if self.settings.cancel_on_interrupt:
                self.compute.cancel(one.under_way)
                self.say(f"The run {one.under_way} was asked to end.")
            else:
                self.say(f"The run {one.under_way} goes on; `llmops runs cancel {one.under_way}` ends it.")


def _has_ended(tries: Tries, steps: Steps) -> bool:
    try:
        next(steps)
    except StopIteration as stop:
        tries.outcome = stop.value
        return True
    except LlmopsError as error:
        if tries.is_required:
            raise
        tries.outcome = error
        return True
    return False


class _Silent:
    """A `Progress` that nobody looks at."""

    def update(self, label: str, *, done: int, total: int, failed: int = 0, unmeasured: int = 0) -> None:
        """See `Progress.update`."""

    def close(self) -> None:
        """See `Progress.close`."""
