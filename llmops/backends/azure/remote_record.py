"""Records of runs that are in a workspace: what it says of them, and what their lines add up to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from llmops.backends.azure.run_service import RemoteRun
from llmops.backends.azure.work import PREFIX
from llmops.backends.line_counts import LineCounts
from llmops.core.documents import to_json
from llmops.core.latency import summarize_latency
from llmops.records import DatasetRef, FlowRef, Line, RunRecord


def link_of(remote: RemoteRun | None) -> str:
    """Return the address of a run in the studio; empty without a run."""
    return remote.link if remote else ""


def is_stand_in(remote: RemoteRun) -> bool:
    """Tell whether the stand-in model answered, which is no real model: who started the run looked."""
    return f"{PREFIX}stand_in" in remote.tags


def texts_of(lines: Iterator[Line] | Sequence[Line], counts: LineCounts) -> Iterator[str]:
    """Yield lines as they are kept, and count them."""
    for line in lines:
        counts.add(line)
        yield json.dumps(to_json(line), ensure_ascii=False)


def with_counts(record: RunRecord, counts: LineCounts) -> RunRecord:
    """Add what lines add up to."""
    return replace(
        record,
        completed=counts.completed,
        failed=counts.failed,
        unmeasured=counts.unmeasured,
        tokens=counts.tokens,
        cost_usd=counts.cost_usd,
        latency_s=summarize_latency(counts.durations_s),
        lines_digest=counts.digest,
        stand_in=record.stand_in or counts.stand_in,
    )


def from_remote(remote: RemoteRun, environment: str) -> RunRecord:
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
        stand_in=is_stand_in(remote),
        status=remote.status,
    )


def _metric(remote: RemoteRun, name: str) -> int:
    value = remote.metrics.get(name)
    if isinstance(value, Mapping):
        value = value.get("lastValue")
    return int(value) if isinstance(value, (int, float)) else 0
