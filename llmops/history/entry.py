"""One line of the history: what one scheduled evaluation found, in numbers; nothing that a row says is in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

from llmops.core.documents import from_json, to_json
from llmops.core.metrics import FindingOutcome, Metric
from llmops.records import SCHEMA_VERSION, DatasetRef, EvaluationRecord, Record, VerdictRecord

Subject = Literal["flow", "endpoint"]
"""flow: as it is checked out, on the main branch; endpoint: what an environment serves, through its own address."""

EntryOutcome = Literal["pass", "fail", "inconclusive", "error"]
"""error: there is no verdict, because the model, the endpoint or the network refused."""


@dataclass(frozen=True, kw_only=True)
class MetricPoint:
    """One metric of one evaluation; see `core.metrics.Metric`."""

    evaluator: str
    name: str
    value: float | None
    n: int
    failed: int = 0
    unmeasured: int = 0
    higher_is_better: bool = True
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class LimitPoint:
    """What the gate said of one limit; see `core.metrics.Finding`."""

    metric: str
    limit: str
    outcome: FindingOutcome
    blocks: bool = True


@dataclass(frozen=True, kw_only=True)
class HistoryEntry(Record):
    """What one scheduled evaluation found.

    Attributes:
        id: names what was measured and at which occasion; of several entries with one id, the last one counts.
        at: when it ended, ISO 8601, UTC.
        outcome, exit_code: of the gate and of the comparison with the deployed version's record.
        flow, commit: digest of the flow, and the commit that it was read from; empty when not known.
        version: that serves, or versions where the traffic is split; empty for the flow.
        verdict: id of the verdict; empty without one.
        link: the CI system's run.
        latency_s: percentile to seconds; cost_usd: None when it is not known.
        evaluators: evaluator to what scored, its flow and its judge, as a digest.
        error: kind of the problem for which there is no verdict.
    """

    kind: ClassVar[str] = "history"
    id: str
    at: str
    experiment: str
    environment: str
    subject: Subject
    dataset: DatasetRef
    outcome: EntryOutcome
    exit_code: int
    flow: str = ""
    commit: str = ""
    version: str = ""
    verdict: str = ""
    link: str = ""
    rows: int = 0
    scored: int = 0
    failed: int = 0
    unmeasured: int = 0
    metrics: Sequence[MetricPoint] = ()
    limits: Sequence[LimitPoint] = ()
    latency_s: Mapping[str, float] = field(default_factory=dict)
    tokens: Mapping[str, int] = field(default_factory=dict)
    cost_usd: float | None = None
    evaluators: Mapping[str, str] = field(default_factory=dict)
    stand_in: bool = False
    error: str = ""

    @property
    def file(self) -> str:
        """The file of the history that it belongs to."""
        return file_of(self.experiment, self.environment)


class Read(NamedTuple):
    """What a history holds: its entries, oldest first, and how many lines could not be read."""

    entries: Sequence[HistoryEntry]
    damaged: int


def file_of(experiment: str, environment: str) -> str:
    """Name the file that holds the history of an experiment in an environment."""
    return f"{experiment}/{environment}.jsonl"


def entry_id(experiment: str, environment: str, subject: Subject, dataset: str, occasion: str) -> str:
    """Name what was measured and when, so that the same measurement recorded twice is one."""
    parts = json.dumps([experiment, environment, subject, dataset, occasion])
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def entry_of(verdict: VerdictRecord, subject: Subject, *, occasion: str, version: str = "", link: str) -> HistoryEntry:
    """Write a verdict as an entry."""
    evaluation, run = verdict.candidate, verdict.candidate.run
    return HistoryEntry(
        id=entry_id(verdict.experiment, verdict.environment, subject, run.dataset.name, occasion),
        at=verdict.created_at,
        experiment=verdict.experiment,
        environment=verdict.environment,
        subject=subject,
        dataset=run.dataset,
        outcome=verdict.outcome,
        exit_code=verdict.exit_code,
        flow=run.flow.digest,
        commit=run.flow.commit or "",
        version=version,
        verdict=verdict.id,
        link=link,
        rows=evaluation.rows,
        scored=evaluation.scored,
        failed=evaluation.failed,
        unmeasured=evaluation.unmeasured,
        metrics=[_point(metric) for metric in evaluation.metrics],
        limits=[
            LimitPoint(metric=one.metric, limit=one.limit, outcome=one.outcome, blocks=one.blocks)
            for one in verdict.findings
        ],
        latency_s=run.latency_s,
        tokens=run.tokens,
        cost_usd=run.cost_usd,
        evaluators=digest_evaluators(evaluation),
        stand_in=verdict.stand_in,
    )


def digest_evaluators(evaluation: EvaluationRecord) -> Mapping[str, str]:
    """Name what scored an evaluation: evaluations are compared only when the same evaluators scored them alike."""
    return {
        name: hashlib.sha256(f"{digest} {evaluation.judges.get(name, '')}".encode("utf-8", "replace")).hexdigest()[:16]
        for name, digest in evaluation.evaluators.items()
    }


def _point(metric: Metric) -> MetricPoint:
    return MetricPoint(
        evaluator=metric.evaluator,
        name=metric.name,
        value=metric.value,
        n=metric.n,
        failed=metric.failed,
        unmeasured=metric.unmeasured,
        higher_is_better=metric.higher_is_better,
        interval=metric.interval,
    )


def write_line(entry: HistoryEntry) -> str:
    """Write an entry as one line of JSON, without the line's end."""
    return json.dumps(to_json(entry), separators=(",", ":"))


def read_entries(texts: Iterable[str]) -> Read:
    """Read files of a history; a line that is none, or is of another version, is counted and left out."""
    found: dict[str, HistoryEntry] = {}
    damaged = 0
    for line in (line for text in texts for line in text.split("\n") if line.strip()):
        entry = _read_line(line)
        if entry is None:
            damaged += 1
        else:
            found[entry.id] = entry
    return Read(sorted(found.values(), key=lambda entry: entry.at), damaged)


def _read_line(line: str) -> HistoryEntry | None:
    try:
        document: Any = json.loads(line)
        if not isinstance(document, dict) or (document.get("kind"), document.get("schema_version")) != (
            HistoryEntry.kind,
            SCHEMA_VERSION,
        ):
            return None
        entry: HistoryEntry = from_json(HistoryEntry, document)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None
    return entry
