"""The documents that pass between steps: typed, versioned JSON.

Every record has `schema_version` and `kind`. Reading refuses a version it does not know. Writing is atomic: a reader
sees the old document or the new one, never half of one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TextIO, TypeVar

from llmops.core.distribution import Distribution
from llmops.core.documents import from_json, to_json
from llmops.core.metrics import Finding, Metric, Outcome, RowStatus
from llmops.errors import UsageError

SCHEMA_VERSION = 1

LineStatus = Literal["completed", "failed", "unmeasured"]
"""completed; failed: the flow itself failed; unmeasured: evaluator, judge, network or budget failed."""


@dataclass(frozen=True, kw_only=True)
class LineError:
    """Why a line has no outputs.

    Attributes:
        type: class name of the exception, for instance `ZeroDivisionError`.
        message: first paragraph of what it says; secrets masked.
        node: node of a DAG flow in which it happened, if known.
        traceback: the user's own frames, if any.
    """

    type: str
    message: str
    node: str | None = None
    traceback: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row through one flow.

    Attributes:
        row: 0-based position in the data set.
        repeat: 0-based index of the measurement of this row.
        inputs: what the flow received, after the column mapping.
        outputs: what the flow returned; None unless completed.
        duration_s: wall time inside the worker, seconds.
        tokens: `prompt`, `completion`, `total` as the model reported them; empty when unknown.
        cost_usd: what these tokens cost by the configured prices, paid now or before; None when that is not known.
        aggregation_inputs: what aggregation nodes need of this line, opaque.
        stand_in: whether the stand-in model, which is no real model, answered one of its calls, now or before.
    """

    row: int
    repeat: int = 0
    status: LineStatus
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any] | None = None
    error: LineError | None = None
    duration_s: float = 0.0
    tokens: Mapping[str, int] = dataclasses.field(default_factory=dict)
    cost_usd: float | None = None
    aggregation_inputs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    stand_in: bool = False


def line_from_json(text: str) -> Line:
    """Read one line of `lines.jsonl`; `from_json` would look at the types of each of many lines."""
    value = json.loads(text)
    if value["error"] is not None:
        value["error"] = LineError(**value["error"])
    return Line(**value)


@dataclass(frozen=True, kw_only=True)
class Record:
    """Base of the documents; `kind` names the class in the file."""

    kind: ClassVar[str] = ""

    @property
    def header(self) -> Mapping[str, Any]:
        """What a document says of itself before its own fields."""
        return {"schema_version": SCHEMA_VERSION, "kind": self.kind}


@dataclass(frozen=True, kw_only=True)
class FlowRef:
    """Which flow, exactly.

    Attributes:
        path: folder relative to the repository, with forward slashes.
        digest: `sha256:` and 64 hexadecimal digits over the flow's closure.
        commit: the commit that was checked out (candidate) or read (baseline); None outside of git.
        dirty: whether the closure differed from that commit.
        ref: the ref a baseline was asked by, for instance `origin/main`.
        nodes: node to what it uses instead of what the flow says: `connection`, `deployment_name`, `model`, inputs.
        init: arguments of the class that the flow is.
        python: the Python that was asked for: empty (llmops's own), a path or `auto`.
        environment_variables: names of those that the experiment sets, sorted; values are no part of the flow.
    """

    path: str
    digest: str
    variants: Mapping[str, str] = dataclasses.field(default_factory=dict)
    nodes: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    init: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    python: str = ""
    environment_variables: Sequence[str] = ()
    commit: str | None = None
    dirty: bool = False
    ref: str | None = None

    @property
    def overlay(self) -> dict[str, str]:
        """All that lies over the files, as texts; with `digest` it names what runs, see `digest_with_overlay`.

        Variants are under their node's name, everything else under a key that no node can have.
        """
        names = ("nodes", "init", "python", "environment_variables")
        settings = {f"overlay:{name}": to_json(value) for name in names if (value := getattr(self, name))}
        return {**self.variants, **{key: json.dumps(value, sort_keys=True) for key, value in settings.items()}}


@dataclass(frozen=True, kw_only=True)
class DatasetRef:
    """Which rows, exactly: path relative to the repository, digest of the bytes, number of rows."""

    name: str
    path: str
    digest: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class ModelCalls:
    """What the model gateway saw of one run, in the invocation that wrote the record.

    Attributes:
        live: calls that a model answered; cached, replayed: from the call cache or a recording; refused: by the
            gateway (budget, retries, recording) or by a service to the last.
        retries: further tries of failed calls.
        concurrency: model to the calls at once that its service was found to take; only where it refused some.
        calls_per_second: the same for the pace.
        unattributed: calls that named no line; their tokens are the run's and no line's.
        uncounted: answers without token counts.
        spent_tokens, spent_usd: of live calls; None when a price or a count is not known.
        prices_as_of: day of the oldest price that was configured; empty without prices.
        problem: what went wrong with keeping answers.
    """

    live: int = 0
    cached: int = 0
    replayed: int = 0
    refused: int = 0
    retries: int = 0
    concurrency: Mapping[str, int] = dataclasses.field(default_factory=dict)
    calls_per_second: Mapping[str, float] = dataclasses.field(default_factory=dict)
    unattributed: int = 0
    uncounted: int = 0
    spent_tokens: int = 0
    spent_usd: float | None = None
    prices_as_of: str = ""
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class RunRecord(Record):
    """All lines of one flow version over one data set; the lines are in `lines.jsonl` beside it.

    Attributes:
        id: derived from what was run, so that the same command finds the same run.
        connections: connection name to its identity (type, host, API version), never a secret.
        completed, failed, unmeasured: number of lines in each state; they add up to rows times repeats.
        cached: lines answered from the cache in the invocation that wrote this record.
        started_at, ended_at: ISO 8601, UTC.
        stand_in: whether the stand-in model answered, which is no real model.
        tokens, cost_usd: sums over the lines; the cost is None when it is not known of a line with tokens.
        latency_s: percentile (`p50`, `p95`) of the lines that completed or failed, seconds; empty when not known.
        model_calls: None when no call could be made: everything was cached, or the flow has no connection.
        target: id of the run whose lines an evaluation flow scored; None for a run of the flow itself.
        metrics: what the aggregation nodes logged; a number, or text such as `NaN`.
        resampled: the numbers among them over each bootstrap sample of the rows, where the request asked for it; None
            where a sample gave none. Sample k has the same rows in every run of an evaluation flow over so many rows.
        aggregation_error: why the aggregation nodes did not end.
        lines_digest: SHA-256 over every line's row, repeat, status, inputs and outputs, in order.
        log: name of the file, in `.llmops/logs/`, that took what the flow printed; other runs of the flow share it.
        remote: names under which a service ran it, in order: those after the first ran what was left over.
        link: page of the service that shows it.
        status: what a service says of a run whose lines were not fetched yet; empty for a run that has ended.
    """

    kind: ClassVar[str] = "run"
    id: str
    experiment: str
    flow: FlowRef
    dataset: DatasetRef
    column_mapping: Mapping[str, Any]
    environment: str
    connections: Mapping[str, str]
    repeats: int
    completed: int
    failed: int
    unmeasured: int
    cached: int
    started_at: str
    ended_at: str
    tokens: Mapping[str, int] = dataclasses.field(default_factory=dict)
    cost_usd: float | None = None
    latency_s: Mapping[str, float] = dataclasses.field(default_factory=dict)
    model_calls: ModelCalls | None = None
    stand_in: bool = False
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    target: str | None = None
    metrics: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    resampled: Mapping[str, Sequence[float | None]] = dataclasses.field(default_factory=dict)
    aggregation_error: LineError | None = None
    lines_digest: str = ""
    log: str = ""
    remote: Sequence[str] = ()
    link: str = ""
    status: str = ""

    @property
    def lines(self) -> int:
        """Lines of the run: rows that were asked for, times repeats."""
        return self.completed + self.failed + self.unmeasured


@dataclass(frozen=True, kw_only=True)
class PendingRecord(Record):
    """A run that was started and has not been brought to its end; its lines are in `planned.jsonl` beside it.

    Attributes:
        run: the record as far as it is known before the end.
        aggregates: whether the flow has nodes over all lines, so that its metrics need all of them in one go.
    """

    kind: ClassVar[str] = "pending-run"
    run: RunRecord
    aggregates: bool


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord(Record):
    """The metrics of one run; the rows are in `rows.jsonl` beside it.

    Attributes:
        evaluators: evaluator name to the digest of its flow.
        evaluation_runs: evaluator name to the id of the run that scored the lines.
        judges: evaluator name to the digest of what judged besides its flow: variants, models of its nodes, arguments,
            connections, column mapping.
        repeats: evaluator name to its measurements of each line.
        resampled: `evaluator.metric` to the evaluation run's `resampled`.
        rows: rows of the data set; scored, failed and unmeasured add up to it.
    """

    kind: ClassVar[str] = "evaluation"
    id: str
    run: RunRecord
    evaluators: Mapping[str, str]
    evaluation_runs: Mapping[str, str]
    metrics: Sequence[Metric]
    rows: int
    scored: int
    failed: int
    unmeasured: int
    judges: Mapping[str, str] = dataclasses.field(default_factory=dict)
    repeats: Mapping[str, int] = dataclasses.field(default_factory=dict)
    resampled: Mapping[str, Sequence[float | None]] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RowView:
    """One side of a row in a report."""

    status: RowStatus
    outputs: Mapping[str, Any] | None
    scores: Mapping[str, float]
    error: str = ""
    duration_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RowComparison:
    """A row that a reviewer should look at.

    Attributes:
        row: 0-based position in the data set.
        change: `regressed`, `improved` or `same` against the baseline; `none` without a baseline.
        badness: larger is worse; rows are listed worst first.
    """

    row: int
    inputs: Mapping[str, Any]
    candidate: RowView
    baseline: RowView | None
    change: Literal["regressed", "improved", "same", "none"]
    badness: float


@dataclass(frozen=True, kw_only=True)
class Look:
    """One judgement of a family of looks: what it added, and what it said.

    Attributes:
        number: 1 for the first.
        repeats: measurements of each row that it rests on; rows: how many rows ran.
        candidate, baseline: ids of the evaluations.
        p_values: what a limit is called to the smallest p-values of its violation and of its holding, up to this look.
        at: ISO 8601, UTC.
    """

    number: int
    repeats: int
    rows: int
    candidate: str
    baseline: str | None
    outcome: Outcome
    p_values: Mapping[str, tuple[float, float]]
    at: str


@dataclass(frozen=True, kw_only=True)
class LooksRecord(Record):
    """All looks at one set of digests; they share one error rate."""

    kind: ClassVar[str] = "looks"
    family: str
    looks: Sequence[Look]


@dataclass(frozen=True, kw_only=True)
class FlowChange:
    """What differs between the flow that was checked and the baseline's.

    Attributes:
        text: one line for people.
        diff: unified diff of a text, without headers; empty for everything else.
        is_prompt: whether a prompt changed.
        file: relative to the project, when one file changed; line: 1-based, the first that changed.
    """

    text: str
    diff: str = ""
    is_prompt: bool = False
    file: str = ""
    line: int = 0


@dataclass(frozen=True, kw_only=True)
class PastValue:
    """What a scheduled evaluation of the main branch found of one metric.

    Attributes:
        metric: `evaluator.metric`.
        at: ISO 8601, UTC; commit: of the flow.
        interval: two-sided 95 %.
    """

    metric: str
    value: float
    at: str
    commit: str = ""
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class VerdictRecord(Record):
    """The answer of one check, complete enough to render every report without another file.

    Attributes:
        baseline: None when there is none; `baseline_reason` then says why.
        metrics, baseline_metrics: of candidate and baseline, in the same order as far as both have them.
        flips: number of rows that regressed and improved.
        worst, flipped: rows to show, worst first, each list cut at `ROWS_SHOWN`.
        evidence: digest over everything that decided; a re-run with equal evidence returns this very record.
        looks: every look that the verdict rests on, the last one included.
        compares_rows: whether candidate and baseline were compared row by row; False: by their numbers alone.
        distributions: how scores are spread; those behind the gate's metrics first.
        past: what scheduled evaluations of the main branch found over this data set, oldest first.
        past_environment: where they ran.
        changes: what the candidate's flow has other than the baseline's, prompts first.
    """

    kind: ClassVar[str] = "verdict"
    id: str
    experiment: str
    environment: str
    outcome: Outcome
    exit_code: int
    findings: Sequence[Finding]
    candidate: EvaluationRecord
    baseline: EvaluationRecord | None
    baseline_reason: str
    regressed: int
    improved: int
    worst: Sequence[RowComparison]
    flipped: Sequence[RowComparison]
    evidence: str
    created_at: str
    stand_in: bool = False
    notes: Sequence[str] = ()
    compares_rows: bool = True
    distributions: Sequence[Distribution] = ()
    past: Sequence[PastValue] = ()
    past_environment: str = ""
    changes: Sequence[FlowChange] = ()
    looks: Sequence[Look] = ()


ROWS_SHOWN = 100

R = TypeVar("R", bound=Record)


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader, or a crash, never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(path) as handle:
        handle.write(text)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[TextIO]:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as handle:
            yield handle
        Path(name).chmod(0o644)
        os.replace(name, path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise UsageError.of(
            "cannot be written",
            where=str(path),
            found=error.strerror or str(error),
            fix="Free the disk and run the same command again; what is finished is kept.",
        ) from error


def write_stream(path: Path, lines: Iterable[str]) -> None:
    """Write lines as they come; a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(path) as handle:
        for line in lines:
            handle.write(f"{line}\n")


def write_record(path: Path, record: Record) -> None:
    """Write a record as indented JSON, atomically."""
    write_text(path, json.dumps(to_json(record), indent=2, ensure_ascii=False) + "\n")


def read_record(path: Path, cls: type[R]) -> R:
    """Read a record.

    Raises:
        UsageError: the file is missing, is not a record of this kind, or is of another version.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError.of(
            f"no {cls.kind} record", where=str(path), fix=f"Name the {cls.kind} record that an earlier step wrote."
        ) from None
    except (ValueError, OSError, RecursionError) as error:
        raise UsageError.of(f"not a readable {cls.kind} record", where=str(path), found=str(error)) from error
    found = (document.get("kind"), document.get("schema_version")) if isinstance(document, dict) else (None, None)
    if found != (cls.kind, SCHEMA_VERSION):
        raise UsageError.of(
            f"not a {cls.kind} record of this version",
            where=str(path),
            found=f"kind {found[0]!r}, schema_version {found[1]!r}",
            expected=f"kind {cls.kind!r}, schema_version {SCHEMA_VERSION}",
        )
    try:
        return typing.cast("R", from_json(cls, document))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError.of(f"a damaged {cls.kind} record", where=str(path), found=str(error)) from error
