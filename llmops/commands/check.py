"""`llmops check`: run, evaluate, compare with the baseline, gate and report, for one or more experiments."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from llmops.backends.protocols import RunRequest, Runs
from llmops.backends.registry import open_runs
from llmops.commands.baselines import Baseline, find_baseline
from llmops.commands.context import Context
from llmops.commands.draws import batches, read_draw_order
from llmops.commands.flow_changes import find_changes
from llmops.commands.host_report import add_summaries, annotate_errors, annotate_verdicts, outcome_of, set_outputs
from llmops.commands.preparation import Prepared, prepare
from llmops.commands.repeats import with_repeats
from llmops.commands.run_requests import evaluation_requests, run_request
from llmops.config.layers import Options, layer
from llmops.config.load import find_root, load_project, pick_experiments
from llmops.config.model import Project
from llmops.core.limits import MetricSpec
from llmops.engine.gateway.settings import ModelUse
from llmops.errors import ExitCode, LlmopsError, Problem, UsageError, first_to_report
from llmops.evaluators.evaluation import evaluate_run
from llmops.evaluators.slices import count_slices, read_slices
from llmops.evaluators.verdict import Case, decide, draw_positions, judge_case
from llmops.history.nearby import find_past
from llmops.records import EvaluationRecord, PastValue, RunRecord, VerdictRecord
from llmops.reports import console
from llmops.reports.model_calls import describe_calls
from llmops.reports.redaction import redact
from llmops.reports.write import write_reports


class Checked(NamedTuple):
    """What became of one experiment: a verdict with its reports, or an error."""

    experiment: str
    verdict: VerdictRecord | None
    reports: Mapping[str, str]
    error: LlmopsError | None = None

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of this experiment alone."""
        if self.error is not None:
            return self.error.exit_code
        return ExitCode(self.verdict.exit_code) if self.verdict else ExitCode.BUG


def check(
    *,
    context: Context,
    experiments: Sequence[str],
    flags: Options,
    baseline: str | None,
    output: Path | None,
    json_output: bool,
    add_repeats: int = 0,
    use: ModelUse | None = None,
) -> int:
    """Check experiments; what is wrong with the configuration is said before any line runs.

    Args:
        experiments: names; empty means all.
        baseline: a git ref, `none`, or None for the default.
        output: folder for the reports; `.llmops/reports/<verdict>/` when None.
        json_output: write one JSON document instead of tables.
        add_repeats: measure each row this many times more than at the last look, and pool; 0 adds none.
        use: recordings and faults; the budget is the experiment's.

    Returns:
        The exit code of the experiment that is worst off, by `errors.first_to_report`.
    """
    project = load_project(find_root(context.folder))
    chosen = pick_experiments(project, experiments)
    use = use or ModelUse()
    prepared = _prepare_all(project, [one.name for one in chosen], context.env, flags, needs_keys=not use.replay)
    _require_room_for_looks(prepared, add_repeats)
    results = []
    for one in prepared:
        folder = output / one.experiment.name if output and len(prepared) > 1 else output
        result = _check_one(context, one, flags, baseline, folder, add_repeats, use)
        results.append(result)
        if not json_output:
            _show(context, result)
    context.progress.close()
    exit_code = first_to_report(result.exit_code for result in results)
    if json_output:
        context.write(json.dumps({"experiments": [_to_json(result) for result in results]}, indent=2))
    elif len(results) > 1:
        verdicts = [result.verdict for result in results if result.verdict]
        context.write(
            console.render_several(verdicts, width=context.width, color=context.color, encoding=context.encoding)
        )
    if not json_output:
        _tell_host(context, project, results, exit_code)
    return exit_code


def _tell_host(context: Context, project: Project, results: Sequence[Checked], exit_code: ExitCode) -> None:
    annotate_verdicts(context, project, [result.verdict for result in results if result.verdict])
    annotate_errors(context, {result.experiment: result.error for result in results if result.error})
    add_summaries(context, [Path(result.reports["markdown"]) for result in results if result.reports])
    set_outputs(context, {"outcome": outcome_of(exit_code), "exit_code": str(int(exit_code))})


def _prepare_all(
    project: Project, names: Sequence[str], env: Mapping[str, str], flags: Options, *, needs_keys: bool
) -> list[Prepared]:
    prepared: list[Prepared] = []
    problems: list[Problem] = []
    for name in names:
        try:
            prepared.append(prepare(project, layer(project, name, env=env, flags=flags), env, needs_keys=needs_keys))
        except UsageError as error:
            problems.extend(error.problems)
    if problems:
        raise UsageError(*dict.fromkeys(problems))
    return prepared


def _require_room_for_looks(prepared: Sequence[Prepared], add_repeats: int) -> None:
    problems = [
        Problem(
            what="repeats may not be added: the gate has one look",
            where=f"experiment '{one.experiment.name}': gate.add_repeats",
            found="false",
            fix="Set gate.add_repeats to true; the first look then already uses a rule that holds for many.",
        )
        for one in prepared
        if add_repeats and not one.experiment.gate.add_repeats
    ]
    if problems:
        raise UsageError(*problems)


def _check_one(
    context: Context,
    prepared: Prepared,
    flags: Options,
    asked: str | None,
    output: Path | None,
    add_repeats: int,
    use: ModelUse,
) -> Checked:
    name = prepared.experiment.name
    try:
        with ExitStack() as resources:
            baseline = find_baseline(prepared, asked, env=context.env, flags=flags, resources=resources)
            runs = resources.enter_context(
                open_runs(
                    prepared.environment,
                    prepared.project.state,
                    context.env,
                    context.say,
                    replace(use, budget=prepared.experiment.budget),
                )
            )
            repeated = with_repeats(prepared, baseline, add_repeats)
            verdict = Check(context=context, prepared=repeated, baseline=baseline, runs=runs).decide()
            verdict = replace(verdict, changes=find_changes(baseline.source, prepared.flow))
            verdict = with_past(verdict, prepared.project)
        if prepared.experiment.redact:
            verdict = redact(verdict)
        folder = output or prepared.project.state / "reports" / verdict.id
        reports = {kind: str(path) for kind, path in write_reports(verdict, folder).items()}
    except LlmopsError as error:
        return Checked(name, None, {}, error)
    finally:
        context.progress.close()
    return Checked(name, verdict, reports)


def with_past(verdict: VerdictRecord, project: Project) -> VerdictRecord:
    """Add what scheduled evaluations of the main branch found, as far as it is at hand."""
    past = find_past(
        project.root,
        project.environments,
        experiment=verdict.experiment,
        environment=verdict.environment,
        dataset=verdict.candidate.run.dataset.name,
    )
    if past is None:
        return verdict
    values = [
        PastValue(
            metric=f"{metric.evaluator}.{metric.name}",
            value=metric.value,
            at=entry.at,
            commit=entry.commit,
            interval=metric.interval,
        )
        for entry in past.entries
        for metric in entry.metrics
        if metric.value is not None and math.isfinite(metric.value)
    ]
    return replace(verdict, past=values, past_environment=past.environment)


@dataclass(frozen=True, kw_only=True)
class Check:
    """One experiment between its preparation and its verdict.

    Attributes:
        baseline: what it is compared with; without a source, it is judged by its own numbers.
        runs: of the environment; open until the verdict is there.
    """

    context: Context
    prepared: Prepared
    baseline: Baseline
    runs: Runs

    def decide(self) -> VerdictRecord:
        """Run what is missing, evaluate and judge."""
        case = self._drawn_case() if self.prepared.experiment.gate.sequential else self._case(None)
        return decide(self.prepared.project.state, case, self.runs.lines)

    def _drawn_case(self) -> Case:
        """Run rows in the order in which they are drawn, a few at a time, until the verdict is certain."""
        gate = self.prepared.experiment.gate
        order = read_draw_order(self.prepared.data, gate.seed)
        sizes = count_slices(read_slices(self.prepared.data, gate))
        for drawn in batches(len(order), self.prepared.experiment.concurrency):
            case = dataclasses.replace(self._case(order[:drawn]), slice_sizes=sizes)
            if judge_case(self.prepared.project.state, case) != "inconclusive":
                break
        return dataclasses.replace(
            case,
            notes=[*case.notes, f"sequential: {drawn} of {len(order)} rows ran, in the order of seed {case.gate.seed}"],
        )

    def _case(self, drawn: Sequence[int] | None) -> Case:
        """Run and evaluate rows; all of them when `drawn` is None."""
        rows = None if drawn is None else sorted(drawn)
        candidate = run_request(self.prepared, self.prepared.flow, label="candidate", rows=rows)
        evaluations = evaluation_requests(self.prepared, candidate, label="")
        requests = [candidate, *evaluations.values()]
        old = self._baseline_requests(rows)
        outcomes = self.runs.run([*requests, *old], self.context.progress)
        new_record = self._evaluate(outcomes[: len(requests)])
        base_record, problem = self._evaluate_baseline(outcomes[len(requests) :], new_record)
        return Case(
            experiment=self.prepared.experiment.name,
            environment=self.prepared.environment.name,
            gate=self.prepared.experiment.gate,
            specs=specs_of(self.prepared),
            candidate=new_record,
            baseline=base_record,
            baseline_reason=self.baseline.reason,
            baseline_problem=problem,
            notes=self._notes(),
            remarks=_describe_models([*requests, *old], outcomes),
            slices=read_slices(self.prepared.data, self.prepared.experiment.gate, rows and frozenset(rows)),
            order=None if drawn is None else draw_positions(drawn, len(drawn)),
        )

    @property
    def _is_unchanged(self) -> bool:
        """Whether the baseline is the very flow that is checked, so that one run serves both."""
        old, new = self.baseline.source, self.prepared.flow
        return old is not None and (old.ref.digest, old.ref.variants, old.ref.nodes) == (
            new.ref.digest,
            new.ref.variants,
            new.ref.nodes,
        )

    def _baseline_requests(self, rows: Sequence[int] | None) -> list[RunRequest]:
        if self.baseline.source is None or self._is_unchanged:
            return []
        request = run_request(self.prepared, self.baseline.source, label="baseline", rows=rows, is_required=False)
        evaluations = evaluation_requests(self.prepared, request, label="baseline", is_required=False)
        return [request, *evaluations.values()]

    def _evaluate(self, outcomes: Sequence[RunRecord | LlmopsError]) -> EvaluationRecord:
        records = [outcome for outcome in outcomes if isinstance(outcome, RunRecord)]
        run, *evaluations = records
        return evaluate_run(
            self.prepared.project.state,
            run,
            dict(zip(self.prepared.evaluators, evaluations, strict=True)),
            specs_of(self.prepared),
            self.runs.lines,
        )

    def _evaluate_baseline(
        self, outcomes: Sequence[RunRecord | LlmopsError], candidate: EvaluationRecord
    ) -> tuple[EvaluationRecord | None, str]:
        if self._is_unchanged:
            return candidate, ""
        errors = [outcome for outcome in outcomes if isinstance(outcome, LlmopsError)]
        if errors:
            return None, f"the baseline could not be run: {errors[0]}"
        if not outcomes:
            return None, self.baseline.problem
        return self._evaluate(outcomes), ""

    def _notes(self) -> list[str]:
        notes = list(self.prepared.flow.closure.notes)
        if self._is_unchanged:
            notes.append("the flow is the same as at the baseline, so its lines were compared with themselves")
        if not self.prepared.experiment.gate.thresholds:
            notes.append("no threshold is set: only failed and unmeasured rows are judged")
        return notes


def _describe_models(requests: Sequence[RunRequest], outcomes: Sequence[RunRecord | LlmopsError]) -> list[str]:
    """Say of each run what its models were asked in this invocation."""
    found = zip(requests, outcomes, strict=True)
    calls = ((request.label, one.model_calls) for request, one in found if isinstance(one, RunRecord))
    return [f"model calls of {label}: {text}" for label, made in calls if made and (text := describe_calls(made))]


def specs_of(prepared: Prepared) -> Mapping[str, Mapping[str, MetricSpec]]:
    """Return what the configuration declares of metrics, by evaluator."""
    return {name: evaluator.metrics for name, evaluator in prepared.experiment.evaluators.items()}


def _show(context: Context, result: Checked) -> None:
    if result.verdict is None:
        context.say(f"{result.experiment}: {result.error}")
        return
    context.write(
        console.render(
            result.verdict,
            width=context.width,
            color=context.color,
            encoding=context.encoding,
            paths=result.reports,
        )
    )


def _to_json(result: Checked) -> dict[str, object]:
    return {
        "experiment": result.experiment,
        "outcome": result.verdict.outcome if result.verdict else "error",
        "exit_code": int(result.exit_code),
        "verdict": result.verdict.id if result.verdict else None,
        "reports": result.reports,
        "error": str(result.error) if result.error else None,
    }
