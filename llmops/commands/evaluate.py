"""`llmops evaluate`: score the lines of a run with the experiment's evaluators."""

from __future__ import annotations

import json
from dataclasses import replace

from llmops.backends.registry import open_runs
from llmops.commands.check import specs_of
from llmops.commands.context import Context
from llmops.commands.preparation import prepare
from llmops.commands.run_requests import evaluation_requests
from llmops.config.layers import Options, layer
from llmops.config.load import find_root, load_project, pick_experiments
from llmops.core.documents import to_json
from llmops.engine.gateway.settings import ModelUse
from llmops.errors import ExitCode, LlmopsError, UsageError
from llmops.evaluators.evaluation import evaluate_run
from llmops.records import EvaluationRecord, RunRecord, read_record


def evaluate(*, context: Context, run: str, flags: Options, json_output: bool) -> int:
    """Evaluate a recorded run and write the evaluation record.

    Args:
        run: the id that `llmops run` printed.
        json_output: write the record instead of a table.

    Raises:
        UsageError: no such run, or its data set is not what it was.
    """
    project = load_project(find_root(context.folder))
    record = read_record(project.state / "runs" / run / "run.json", RunRecord)
    pick_experiments(project, [record.experiment])
    flags = replace(flags, environment=flags.environment or record.environment, dataset=record.dataset.name)
    prepared = prepare(project, layer(project, record.experiment, env=context.env, flags=flags), context.env)
    if prepared.dataset.digest != record.dataset.digest:
        raise UsageError.of(
            "the data set has changed since the run",
            where=prepared.dataset.path,
            found=prepared.dataset.digest,
            expected=record.dataset.digest,
            fix=f"Run `llmops run {record.experiment}` again.",
        )
    use = ModelUse(budget=prepared.experiment.budget)
    with open_runs(prepared.environment, project.state, context.env, context.say, use) as runs:
        requests = evaluation_requests(prepared, record, label="")
        outcomes = runs.run(list(requests.values()), context.progress)
        records = {name: _required(outcome) for name, outcome in zip(requests, outcomes, strict=True)}
        evaluation = evaluate_run(project.state, record, records, specs_of(prepared), runs.lines)
    context.progress.close()
    context.write(json.dumps(to_json(evaluation), indent=2) if json_output else describe_evaluation(evaluation))
    return ExitCode.PASS


def _required(outcome: RunRecord | LlmopsError) -> RunRecord:
    if isinstance(outcome, LlmopsError):
        raise outcome
    return outcome


def describe_evaluation(evaluation: EvaluationRecord) -> str:
    """Say which metrics came out, one per line, and what to do next."""
    lines = [
        f"{evaluation.id}: {evaluation.scored} scored, {evaluation.failed} failed, {evaluation.unmeasured} unmeasured"
    ]
    for metric in evaluation.metrics:
        value = "no value" if metric.value is None else f"{metric.value:.4g}"
        note = f" ({metric.note})" if metric.note else ""
        lines.append(f"  {metric.evaluator}.{metric.name}: {value}, n {metric.n}{note}")
    return "\n".join([*lines, f"Next: llmops gate {evaluation.id}"])
