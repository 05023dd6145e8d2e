"""`llmops selftest`: plant known regressions in an experiment's own outputs and see which of them its gate stops."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmops.backends.protocols import Runs
from llmops.backends.registry import open_runs
from llmops.commands.check import specs_of
from llmops.commands.context import Context
from llmops.commands.preparation import Prepared, prepare
from llmops.commands.run_requests import evaluation_requests, run_request
from llmops.config.layers import Options, layer
from llmops.config.load import find_root, load_project, pick_experiments
from llmops.core.aggregate import extremes, row_values
from llmops.core.documents import to_json
from llmops.core.gate import find_metric
from llmops.core.metrics import Outcome
from llmops.core.plants import DESCRIPTIONS, SIZES, PlantName, plant, touched_rows
from llmops.errors import ExitCode, LlmopsError, UsageError
from llmops.evaluators.evaluation import evaluate_run, read_scores
from llmops.evaluators.slices import read_slices
from llmops.evaluators.verdict import Case, judge_case
from llmops.records import EvaluationRecord, Line, LineError, RunRecord, write_record, write_stream


@dataclass(frozen=True, kw_only=True)
class Planted:
    """What the gate made of one kind of regression.

    Attributes:
        plant: which; `description` in words.
        stopped_from: smallest size, in percent of the rows, from which the gate stops it; None when it never does.
        outcomes: size to outcome, as far as it was tried.
        why_not: why it could not be planted at all; empty otherwise.
    """

    plant: PlantName
    description: str
    stopped_from: int | None
    outcomes: Mapping[int, Outcome]
    why_not: str = ""


def selftest(*, context: Context, experiment: str, flags: Options, json_output: bool) -> int:
    """Say which planted regressions an experiment's gate would have stopped, and from what size on.

    The flow runs once, or not at all when its lines are recorded. Each planted run is scored by the experiment's own
    evaluators, which costs their calls for the rows that were touched, and is compared with the run as it was.

    Args:
        context: where to read and write.
        experiment: its name.
        flags: environment, data set, variants, as for `llmops check`.
        json_output: write JSON instead of text.

    Returns:
        0, whatever the gate stops: what it misses is for people to judge.
    """
    project = load_project(find_root(context.folder))
    pick_experiments(project, [experiment])
    prepared = prepare(project, layer(project, experiment, env=context.env, flags=flags), context.env)
    # One look at one planted run: what is asked is what a first check would have said.
    with open_runs(prepared.environment, project.state, context.env, context.say) as runs:
        test = _SelfTest(context=context, prepared=prepared, runs=runs)
        clean = test.judge(test.original, test.original)
        planted = [test.try_plant(name) for name in DESCRIPTIONS]
    context.progress.close()
    if json_output:
        document = {"experiment": experiment, "unchanged": clean, "plants": [to_json(one) for one in planted]}
        context.write(json.dumps(document, indent=2))
    else:
        context.write(describe(prepared, clean, planted))
    return ExitCode.PASS


def describe(prepared: Prepared, clean: Outcome, planted: Sequence[Planted]) -> str:
    """Say in a line per plant from what size on it is stopped."""
    lines = [f"{prepared.experiment.name}: {prepared.dataset.rows} rows; the unchanged flow against itself: {clean}"]
    if clean == "inconclusive":
        lines.append(
            "  The gate is inconclusive with nothing wrong: only a fail counts as stopped; see `llmops gate --power`."
        )
    for one in planted:
        name = f"{one.plant}: {one.description}"
        if one.why_not:
            lines.append(f"  ? {name}: {one.why_not}")
        elif one.stopped_from is None:
            lines.append(f"  ✗ {name}: not stopped, not even at {SIZES[-1]} % of the rows")
        else:
            lines.append(f"  ✓ {name}: stopped from {one.stopped_from} % of the rows on")
    return "\n".join(lines)


@dataclass(kw_only=True)
class _SelfTest:
    context: Context
    prepared: Prepared
    runs: Runs

    def __post_init__(self) -> None:
        request = run_request(self.prepared, self.prepared.flow, label="flow")
        evaluations = evaluation_requests(self.prepared, request, label="")
        run, *scored = self._run([request, *evaluations.values()])
        self.run = run
        self.original = self._evaluate(run, scored)
        self.lines = [line for line in self.runs.lines(run) if line.repeat == 0]
        self.outputs = [line.outputs for line in self.lines]
        self._clean = self.judge(self.original, self.original)

    def try_plant(self, name: PlantName) -> Planted:
        """Find the smallest size that is stopped, by bisection: a larger plant touches all rows of a smaller one."""
        rows = self._candidates(name)
        description = DESCRIPTIONS[name]
        if not rows:
            why = "no row that could be touched: none is right by a metric of the gate, or all answers are equal"
            return Planted(plant=name, description=description, stopped_from=None, outcomes={}, why_not=why)
        outcomes: dict[int, Outcome] = {}

        def is_stopped(size: int) -> bool:
            outcomes[size] = self._plant(name, size, rows)
            return outcomes[size] == "fail" or (outcomes[size] != "pass" and self._clean == "pass")

        low, high = -1, len(SIZES) - 1
        if not is_stopped(SIZES[high]):
            return Planted(plant=name, description=description, stopped_from=None, outcomes=outcomes)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if is_stopped(SIZES[middle]) else (middle, high)
        return Planted(
            plant=name, description=description, stopped_from=SIZES[high], outcomes=dict(sorted(outcomes.items()))
        )

    def judge(self, candidate: EvaluationRecord, baseline: EvaluationRecord) -> Outcome:
        """Judge an evaluation against another one, without recording it."""
        experiment = self.prepared.experiment
        case = Case(
            experiment=experiment.name,
            environment=self.prepared.environment.name,
            gate=experiment.gate,
            specs=specs_of(self.prepared),
            candidate=candidate,
            baseline=baseline,
            baseline_reason="the run as it was",
            slices=read_slices(self.prepared.data, experiment.gate),
        )
        return judge_case(self.prepared.project.state, case)

    def _candidates(self, name: PlantName) -> list[int]:
        completed = [line.row for line in self.lines if line.status == "completed"]
        if name == "flip":
            right = self._right_rows()
            completed = [row for row in completed if row in right]
        if name in {"flip", "shuffle"} and len({json.dumps(to_json(one), sort_keys=True) for one in self.outputs}) == 1:
            return []
        return completed

    def _right_rows(self) -> set[int]:
        """Return the rows that have the best possible score of a metric that the gate names."""
        scores = read_scores(self.prepared.project.state, self.original)
        metrics = {f"{metric.evaluator}.{metric.name}": metric for metric in self.original.metrics}
        right: set[int] = set()
        for threshold in self.prepared.experiment.gate.thresholds:
            metric = find_metric(threshold.metric, metrics)
            spec = specs_of(self.prepared).get(metric.evaluator, {}).get(metric.name) if metric else None
            if metric is None or spec is None or spec.score is None:
                continue
            best = extremes(spec)[1]
            values = row_values(scores, f"{metric.evaluator}.{spec.score}", spec)
            right |= {row for row, value in enumerate(values) if value is not None and value == best}
        return right

    def _plant(self, name: PlantName, size: int, rows: Sequence[int]) -> Outcome:
        touched = set(touched_rows(rows, size, self.prepared.dataset.rows, name))
        run = self._write(f"{self.run.id}-selftest-{name}-{size}", name, touched)
        scored = self._run(list(evaluation_requests(self.prepared, run, label="planted").values()))
        return self.judge(self._evaluate(run, scored), self.original)

    def _write(self, identifier: str, name: PlantName, touched: set[int]) -> RunRecord:
        """Write the planted lines as a run of its own beside the real ones."""
        digest = hashlib.sha256()
        failed = 0

        def texts() -> Iterator[str]:
            nonlocal failed
            for line in self.runs.lines(self.run):
                planted = self._planted(name, line) if line.row in touched else line
                failed += planted.status == "failed"
                body = [planted.row, planted.repeat, planted.status, planted.inputs, planted.outputs]
                text = json.dumps(body, sort_keys=True, ensure_ascii=False)
                digest.update(text.encode("utf-8", "surrogatepass") + b"\n")
                yield json.dumps(to_json(planted), ensure_ascii=False)

        folder = self.prepared.project.state / "runs" / identifier
        write_stream(folder / "lines.jsonl", texts())
        record = dataclasses.replace(
            self.run,
            id=identifier,
            completed=self.run.lines - failed - self.run.unmeasured,
            failed=failed,
            lines_digest=f"sha256:{digest.hexdigest()}",
        )
        write_record(folder / "run.json", record)
        return record

    def _planted(self, name: PlantName, line: Line) -> Line:
        made = plant(name, line.row, self.outputs, line.duration_s)
        if made.is_failed:
            error = LineError(type="Planted", message="this failure was planted by llmops selftest")
            return dataclasses.replace(line, status="failed", outputs=None, error=error, aggregation_inputs={})
        return dataclasses.replace(line, outputs=made.outputs, duration_s=made.duration_s)

    def _run(self, requests: Sequence[Any]) -> list[RunRecord]:
        records = []
        for outcome in self.runs.run(requests, self.context.progress):
            if isinstance(outcome, LlmopsError):
                raise outcome
            records.append(outcome)
        return records

    def _evaluate(self, run: RunRecord, scored: Sequence[RunRecord]) -> EvaluationRecord:
        if not scored:
            raise UsageError.of(
                "no evaluator, so that nothing could be stopped but failed rows",
                where=f"experiment '{self.prepared.experiment.name}'",
                fix="Add an evaluator.",
            )
        return evaluate_run(
            self.prepared.project.state,
            run,
            dict(zip(self.prepared.evaluators, scored, strict=True)),
            specs_of(self.prepared),
            self.runs.lines,
        )
