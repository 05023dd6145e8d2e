"""Judge a deployment by its own answers, asked for through the endpoint's own address.

The answers become the lines of a run, so that evaluators, gate and verdict are the very ones of `llmops check`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from llmops.backends.protocols import Answer, Clock, Endpoints
from llmops.config.connections import ResolvedConnection, identity
from llmops.config.data import read_rows
from llmops.config.images import with_content
from llmops.config.model import Experiment
from llmops.core.documents import to_json
from llmops.core.endpoint import Deployment
from llmops.core.latency import summarize_latency
from llmops.core.mapping import apply, complete, parse_mapping
from llmops.core.rollout_checks import Judgement
from llmops.core.rollout_state import MADE_BY
from llmops.delivery.lease import retry
from llmops.errors import BackendError, ExitCode
from llmops.evaluators.evaluation import evaluate_run
from llmops.evaluators.verdict import Case, decide
from llmops.records import (
    DatasetRef,
    Line,
    LineError,
    LineStatus,
    RunRecord,
    VerdictRecord,
    line_from_json,
    write_record,
    write_stream,
)
from llmops.releases import Manifest

_BUSY = (0, 429, 502, 503, 504)
_NOT_THE_FLOW = (*_BUSY, 401, 403, 404)
"""Statuses that say nothing of the flow: it was not reached, or not allowed to answer."""
_RETRIES_S = (1.0, 3.0, 9.0, 27.0)
"""Waits before a request is sent again that met a busy service."""


class Score(Protocol):
    """Scores the lines of a run by evaluators of the experiment."""

    def __call__(
        self, run: RunRecord, rows: Path, evaluators: Collection[str], keep: Callable[[], None]
    ) -> Mapping[str, RunRecord]:
        """Return evaluator name to its run over the lines.

        Args:
            run: of the answers.
            rows: file with the rows that were asked.
            evaluators: their names.
            keep: to be called often.
        """


class _Question(NamedTuple):
    row: int
    repeat: int
    inputs: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class EndpointJudge:
    """`Judge` of one version's deployments on one endpoint.

    Attributes:
        state: the project's `.llmops/` folder.
        manifest: of the version.
        experiment: as it holds in the environment.
        dataset, data: the rows that are asked.
        connections: those that the version uses.
        score: scores the lines of a run.
        read_lines: yields the lines of a run in order.
    """

    endpoints: Endpoints
    endpoint: str
    clock: Clock
    state: Path
    manifest: Manifest
    experiment: Experiment
    environment: str
    dataset: DatasetRef
    data: Path
    connections: Mapping[str, ResolvedConnection]
    score: Score
    read_lines: Callable[[RunRecord], Iterator[Line]]

    def probe(self, deployment: str | None, rows: int) -> Judgement:
        """See `Judge.probe`; None asks the endpoint as its users do."""
        asked = 0
        for question in self._questions(repeats=1):
            if asked == rows:
                break
            answer = self._ask(deployment, question)
            problem = self._find_fault(answer)
            if problem:
                code = ExitCode.REFUSED if answer.status in _NOT_THE_FLOW else ExitCode.GATE_FAILED
                return Judgement(exit_code=int(code), sentence=f"row {question.row}: {problem}")
            asked += 1
        outputs = ", ".join(self.manifest.outputs) or "an object"
        return Judgement(exit_code=0, sentence=f"{asked} rows answered with {outputs}")

    def evaluate(self, deployment: str, dataset: str, keep: Callable[[], None]) -> Judgement:
        """See `Judge.evaluate`; answers that are there from an attempt before are not asked for again."""
        del dataset
        verdict = self.judge(self.ask(deployment, keep), keep)
        return Judgement(exit_code=verdict.exit_code, sentence=_say(verdict), verdict=verdict.id)

    def judge(self, run: RunRecord, keep: Callable[[], None]) -> VerdictRecord:
        """Score the answers of a run that `ask` made, and hold them against the gate."""
        evaluations = self.score(run, self.data, self.experiment.evaluators, keep)
        specs = {name: evaluator.metrics for name, evaluator in self.experiment.evaluators.items()}
        evaluation = evaluate_run(self.state, run, evaluations, specs, self.read_lines)
        case = Case(
            experiment=self.experiment.name,
            environment=self.environment,
            gate=self.experiment.gate,
            specs=specs,
            candidate=evaluation,
            baseline=None,
            baseline_reason="a deployment is judged by its own numbers",
            notes=[f"the answers are those of deployment {run.versions['deployment']} of endpoint {self.endpoint}"],
        )
        return decide(self.state, case, self.read_lines)

    def _find_fault(self, answer: Answer) -> str:
        if answer.status != 200:
            return (
                f"status {answer.status}: {answer.text[:200]}" if answer.status else f"no answer: {answer.text[:200]}"
            )
        if answer.outputs is None:
            return f"the answer is no JSON object: {answer.text[:200]}"
        missing = [name for name in self.manifest.outputs if name not in answer.outputs]
        if missing:
            found = ", ".join(answer.outputs) or "none"
            return f"the answer lacks the declared outputs {', '.join(missing)}; it has {found}"
        return ""

    def _ask(self, deployment: str | None, question: _Question) -> Answer:
        timeout_s = self.experiment.line_timeout_s
        for wait_s in (*_RETRIES_S, None):
            ask = partial(
                self.endpoints.score, self.endpoint, question.inputs, deployment=deployment, timeout_s=timeout_s
            )
            answer = retry(ask, self.clock)
            if answer.status not in _BUSY or wait_s is None:
                break
            self.clock.sleep(wait_s)
        return answer

    def _questions(self, *, repeats: int) -> Iterator[_Question]:
        known = self.manifest.inputs
        mapping = {n: v for n, v in self.experiment.column_mapping.items() if not known or n in known}
        columns = complete(parse_mapping(mapping), known)
        for row in read_rows(self.data):
            inputs = with_content(apply(columns, data=row.values), self.data.parent)
            for repeat in range(repeats):
                yield _Question(row.number, repeat, inputs)

    def ask(self, deployment: str | None, keep: Callable[[], None], *, occasion: str = "") -> RunRecord:
        """Ask every row and record the answers as a run.

        Args:
            deployment: who answers; None lets the endpoint's traffic split decide, as for its users.
            keep: called after each answer.
            occasion: names the measurement: answers of an attempt before at the same one are not asked for again.

        Raises:
            BackendError: the deployment is gone, or the endpoint serves nothing.
        """
        started_at = _iso(self.clock)
        asked_of = self._find(deployment)
        folder = self.state / "runs" / self._run_id(asked_of, occasion)
        asked = self._ask_all(deployment, folder / "answers.jsonl", keep)
        lines = [asked[key] for key in sorted(asked)]
        return self.write_run(folder, ", ".join(asked_of), lines, dataset=self.dataset, started_at=started_at)

    def write_run(
        self, folder: Path, deployment: str, lines: Sequence[Line], *, dataset: DatasetRef, started_at: str = ""
    ) -> RunRecord:
        """Write answers of a deployment as a run, which evaluators can score.

        Args:
            folder: of the run; its name is the run's id.
            deployment: that answered; several, by commas.
            lines: by row and repeat.
            dataset: that was asked.
            started_at: ISO 8601; now when empty.
        """
        write_stream(folder / "lines.jsonl", (json.dumps(to_json(line), ensure_ascii=False) for line in lines))
        counts = {
            status: sum(line.status == status for line in lines) for status in ("completed", "failed", "unmeasured")
        }
        record = RunRecord(
            id=folder.name,
            experiment=self.experiment.name,
            flow=self.manifest.flow,
            dataset=dataset,
            column_mapping=self.experiment.column_mapping,
            environment=self.environment,
            connections={name: identity(connection) for name, connection in self.connections.items()},
            repeats=max((line.repeat for line in lines), default=0) + 1,
            completed=counts["completed"],
            failed=counts["failed"],
            unmeasured=counts["unmeasured"],
            cached=0,
            started_at=started_at or _iso(self.clock),
            ended_at=_iso(self.clock),
            stand_in=self.endpoints.reach_stand_in(self.connections),
            latency_s=summarize_latency(line.duration_s for line in lines if line.status != "unmeasured"),
            versions={**self.manifest.versions, "endpoint": self.endpoint, "deployment": deployment},
            lines_digest=digest_lines(lines),
        )
        write_record(folder / "run.json", record)
        return record

    def _find(self, deployment: str | None) -> Mapping[str, Deployment]:
        """Find who answers: one deployment, or all that have traffic."""
        observed = retry(lambda: self.endpoints.observe(self.endpoint), self.clock)
        names = [deployment] if deployment is not None else sorted(observed.traffic if observed else ())
        found = {name: observed.deployments[name] for name in names if observed and name in observed.deployments}
        if not found:
            raise BackendError.of("the deployment is gone", where=f"{self.endpoint}/{deployment or ''}".rstrip("/"))
        return found

    def _run_id(self, asked_of: Mapping[str, Deployment], occasion: str) -> str:
        """Name the run by what is asked and by which incarnations of the deployments answer."""
        parts: list[Any] = [self.endpoint, occasion, self.dataset.digest]
        parts += [[name, one.digest, one.tags.get(MADE_BY, "")] for name, one in asked_of.items()]
        parts += [dict(self.experiment.column_mapping), self.experiment.repeat]
        return f"{'-'.join(asked_of)}-{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]}"

    def _ask_all(self, deployment: str | None, path: Path, keep: Callable[[], None]) -> dict[tuple[int, int], Line]:
        """Ask every question that has no final answer yet; each answer is on the disk before the next is counted."""
        lines = _read_answers(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        missing = [q for q in self._questions(repeats=self.experiment.repeat) if (q.row, q.repeat) not in lines]
        pool = ThreadPoolExecutor(max_workers=self.experiment.concurrency)
        with contextlib.ExitStack() as stack, path.open("a", encoding="utf-8") as handle:
            stack.callback(pool.shutdown, cancel_futures=True)
            futures = [pool.submit(self._answer, deployment, question) for question in missing]
            for future in as_completed(futures):
                line = future.result()
                lines[line.row, line.repeat] = line
                if line.status != "unmeasured":
                    handle.write(json.dumps(to_json(line), ensure_ascii=False) + "\n")
                    handle.flush()
                keep()
        return lines

    def _answer(self, deployment: str | None, question: _Question) -> Line:
        answer = self._ask(deployment, question)
        problem = self._find_fault(answer)
        status: LineStatus = "completed"
        if problem:
            status = "unmeasured" if answer.status in _NOT_THE_FLOW else "failed"
        return Line(
            row=question.row,
            repeat=question.repeat,
            status=status,
            inputs=question.inputs,
            outputs=None if problem else answer.outputs,
            error=LineError(type=f"Status{answer.status}", message=problem) if problem else None,
            duration_s=answer.duration_s,
        )


def digest_lines(lines: Sequence[Line]) -> str:
    """Digest lines as a run record does: row, repeat, status, inputs and outputs of each, in order."""
    total = hashlib.sha256()
    for line in lines:
        body = [line.row, line.repeat, line.status, line.inputs, line.outputs]
        total.update(json.dumps(body, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
    return f"sha256:{total.hexdigest()}"


def _read_answers(path: Path) -> dict[tuple[int, int], Line]:
    """Read the answers of earlier attempts; a last line that was cut by a crash is asked again."""
    lines: dict[tuple[int, int], Line] = {}
    if not path.exists():
        return lines
    whole = path.read_bytes().rpartition(b"\n")[0]
    for text in whole.split(b"\n"):
        if text:
            line = line_from_json(text.decode("utf-8"))
            lines[line.row, line.repeat] = line
    path.write_bytes(whole + b"\n" if whole else b"")
    return lines


def _say(verdict: VerdictRecord) -> str:
    evaluation = verdict.candidate
    counts = f"{evaluation.scored} scored, {evaluation.failed} failed, {evaluation.unmeasured} unmeasured"
    broken = [finding for finding in verdict.findings if finding.outcome in ("fail", "inconclusive")]
    if broken:
        return f"{verdict.outcome}: {broken[0].metric} {broken[0].limit}, {broken[0].message or counts}"
    return f"{verdict.outcome}: {counts}"


def _iso(clock: Clock) -> str:
    return datetime.fromtimestamp(clock.now(), timezone.utc).isoformat(timespec="milliseconds")
