"""What is to be run on Azure: the lines, what tells them from all others, and what was written down of it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from llmops.backends.azure.run_service import RemoteRun
from llmops.backends.azure.shares import NO_LIMIT
from llmops.backends.planned_lines import PlannedLine, identify_target, slug_of
from llmops.backends.protocols import RunRequest
from llmops.config.connections import identity
from llmops.config.model import Budget
from llmops.core.documents import to_json
from llmops.records import Line, LineError, PendingRecord, RunRecord, read_record, write_record, write_stream

REVISION = "azure-1"
"""Part of every id: changed when the same request would be run in another way."""

_LONGEST_SLUG = 60
_PULL_REQUEST = re.compile(r"refs/pull/(\d+)/")
PREFIX = "llmops."
"""Of the tags that say what a run is; tags without it are people's."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One run, however many tries it takes.

    Attributes:
        planned: every line, in order.
        request: None for a run that another command asked for; no new try can be started then.
        target: the run that is evaluated.
    """

    pending: PendingRecord
    planned: Sequence[PlannedLine]
    request: RunRequest | None = None
    target: RunRecord | None = None

    @property
    def id(self) -> str:
        """Its id here, which follows from what is run."""
        return self.pending.run.id

    def name(self, number: int) -> str:
        """Name a try in the workspace, counted from 1."""
        return self.id if number == 1 else f"{self.id}-{number}"

    def with_stand_in(self) -> Work:
        """Return the same, to be answered by the stand-in model."""
        return replace(self, pending=replace(self.pending, run=replace(self.pending.run, stand_in=True)))

    @property
    def runnable(self) -> list[int]:
        """Positions of the lines whose inputs could be formed."""
        return [index for index, line in enumerate(self.planned) if line.error is None]


class Outcome(NamedTuple):
    """What a try left behind.

    Attributes:
        lines: position in the plan to line; those that nothing is known of are missing.
        metrics: logged by aggregation nodes.
        aggregation_error: why these did not end.
        versions: versions of what ran the lines, by name.
        spent: on models; no limit where nothing is known of it.
    """

    lines: Mapping[int, Line]
    metrics: Mapping[str, Any] = {}
    aggregation_error: LineError | None = None
    versions: Mapping[str, str] = {}
    spent: Budget = NO_LIMIT


class Compute(Protocol):
    """A way to run lines in a workspace."""

    def find(self, name: str) -> RemoteRun | None:
        """Describe a try, None when there is none."""

    def start(self, name: str, work: Work, todo: Sequence[int], share: Budget) -> Budget:
        """Start a try over some lines of the plan; one of that name is left as it is.

        Args:
            name: of the try.
            work: what it is a try of.
            todo: positions in the plan.
            share: what it may spend on models; a compute that cannot hold it takes no notice.

        Returns:
            What it may really spend, which is another share where a part of it was started before.
        """

    def read(self, remote: RemoteRun, work: Work, todo: Sequence[int]) -> Outcome:
        """Fetch what a try that has ended left behind."""

    def count_finished(self, name: str) -> int:
        """Tell how many lines a try has finished so far."""

    def read_log(self, name: str) -> str:
        """Return what a try wrote so far."""

    def cancel(self, name: str) -> None:
        """Ask a try to end."""


@dataclass(frozen=True)
class PendingRuns:
    """Runs that were started and not yet brought to their end, under `.llmops/runs/`.

    Args:
        state: the project's `.llmops/` folder.
    """

    state: Path

    def write(self, work: Work) -> None:
        """Keep what is needed to go on in another process."""
        folder = self.state / "runs" / work.id
        write_stream(folder / "planned.jsonl", (json.dumps(_to_list(line)) for line in work.planned))
        write_record(folder / "pending.json", work.pending)

    def find(self, run_id: str) -> PendingRecord | None:
        """Return a run that was started, None when there is none."""
        path = self.state / "runs" / run_id / "pending.json"
        return read_record(path, PendingRecord) if path.exists() else None

    def read(self, pending: PendingRecord) -> Work:
        """Return the run with its lines."""
        path = self.state / "runs" / pending.run.id / "planned.jsonl"
        with path.open(encoding="utf-8") as handle:
            planned = [_from_list(json.loads(text)) for text in handle]
        return Work(pending=pending, planned=planned)

    def forget(self, run_id: str) -> None:
        """Drop what was kept of a run that has ended."""
        for name in ("pending.json", "planned.jsonl"):
            (self.state / "runs" / run_id / name).unlink(missing_ok=True)

    def list_all(self) -> Iterator[PendingRecord]:
        """Yield all of them."""
        for path in sorted((self.state / "runs").glob("*/pending.json")):
            yield read_record(path, PendingRecord)


def _to_list(line: PlannedLine) -> list[Any]:
    return [line.row, line.repeat, line.inputs, to_json(line.error) if line.error else None]


def _from_list(value: list[Any]) -> PlannedLine:
    row, repeat, inputs, error = value
    return PlannedLine(row, repeat, inputs, error=LineError(**error) if error else None)


def identify(request: RunRequest, target: RunRecord | None, place: str) -> str:
    """Derive the id of a run from all that decides its outcome.

    Args:
        request: what is asked for.
        target: the run that is evaluated.
        place: names the workspace and the kind of compute.
    """
    flow, ref = request.source.flow, request.source.ref
    parts: list[Any] = [REVISION, place, ref.digest, flow.definition, flow.entry, dict(ref.variants)]
    parts += [to_json(ref.nodes), dict(ref.init), dict(request.environment_variables), request.dataset.digest]
    parts += [{name: identity(connection) for name, connection in request.connections.items()}]
    parts += [dict(request.column_mapping), request.repeats, identify_target(request, target)]
    parts += [list(request.rows) if request.rows is not None else None]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", slug_of(request.source))[:_LONGEST_SLUG].strip("-_") or "flow"
    return f"{slug}-{digest[:12]}"


def begin_record(request: RunRequest, target: RunRecord | None, run_id: str) -> RunRecord:
    """Write down what is known of a run before it starts."""
    return RunRecord(
        id=run_id,
        experiment=request.experiment,
        flow=request.source.ref,
        dataset=request.dataset,
        column_mapping=request.column_mapping,
        environment=request.environment,
        connections={name: identity(connection) for name, connection in request.connections.items()},
        repeats=request.repeats,
        completed=0,
        failed=0,
        unmeasured=0,
        cached=0,
        started_at=now(),
        ended_at="",
        target=target.id if target else None,
    )


def aggregates(request: RunRequest) -> bool:
    """Tell whether a flow may have something to say about all lines together."""
    nodes = request.source.flow.data.get("nodes") or []
    is_dag = request.source.flow.kind == "dag"
    return not is_dag or any(isinstance(node, Mapping) and node.get("aggregation") for node in nodes)


def describe_with_tags(work: Work, env: Mapping[str, str]) -> dict[str, str]:
    """Say what a run is, for people who look at it in the studio and for those who find it again."""
    run = work.pending.run
    known = {
        "run": run.id,
        "experiment": run.experiment,
        "environment": run.environment,
        "flow": run.flow.path,
        "digest": run.flow.digest,
        "commit": run.flow.commit or "",
        "dirty": "true" if run.flow.dirty else "",
        "pull_request": pull_request_of(env),
        "data": run.dataset.path,
        "data_digest": run.dataset.digest,
        "evaluates": run.target or "",
        "stand_in": "true" if run.stand_in else "",
    }
    people: Mapping[str, str] = work.request.about.tags if work.request else {}
    return {**people, **{f"{PREFIX}{name}": value for name, value in known.items() if value}}


def pull_request_of(env: Mapping[str, str]) -> str:
    """Return the number of the pull request that a CI system runs for; empty when there is none."""
    match = _PULL_REQUEST.match(env.get("GITHUB_REF", ""))
    if match:
        return match[1]
    return env.get("SYSTEM_PULLREQUEST_PULLREQUESTNUMBER") or env.get("SYSTEM_PULLREQUEST_PULLREQUESTID") or ""


def now() -> str:
    """Return the time, ISO 8601, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
