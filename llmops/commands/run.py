"""`llmops run`: run an experiment's flow over its data set."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace

from llmops.backends.registry import open_runs
from llmops.commands.baselines import read_source_at
from llmops.commands.context import Context
from llmops.commands.estimate import describe_estimate, estimate
from llmops.commands.preparation import prepare
from llmops.commands.run_requests import run_request
from llmops.config.layers import Options, layer
from llmops.config.load import find_root, load_project, pick_experiments
from llmops.core.documents import to_json
from llmops.engine.gateway.settings import ModelUse
from llmops.errors import ExitCode, LlmopsError
from llmops.records import RunRecord
from llmops.reports.model_calls import describe_calls


def run(
    *,
    context: Context,
    experiment: str,
    flags: Options,
    ref: str | None,
    json_output: bool,
    use: ModelUse | None = None,
    estimates: bool = False,
    detach: bool = False,
) -> int:
    """Run every row that is not in the cache and write the run record.

    Args:
        ref: run the flow as it stands at this git ref instead of the working tree.
        json_output: write the record instead of a sentence.
        use: recordings and faults; the budget is the experiment's.
        estimates: say what the run would use, and run nothing.
        detach: start the run and do not wait for it.

    Returns:
        0: lines that failed are in the record, and `llmops gate` judges them.
    """
    project = load_project(find_root(context.folder))
    pick_experiments(project, [experiment])
    use = use or ModelUse()
    selection = layer(project, experiment, env=context.env, flags=flags)
    prepared = prepare(project, selection, context.env, needs_keys=not (use.replay or estimates))
    use = replace(use, budget=prepared.experiment.budget)
    with ExitStack() as resources:
        source = read_source_at(prepared, ref, resources) if ref else prepared.flow
        runs = resources.enter_context(open_runs(prepared.environment, project.state, context.env, context.say, use))
        request = run_request(prepared, source, label=experiment)
        if estimates:
            found = estimate(request, runs, prepared.environment.prices)
            context.write(json.dumps(to_json(found), indent=2) if json_output else describe_estimate(found))
            return ExitCode.PASS
        if detach:
            (started,) = runs.submit([request])
            context.write(json.dumps(to_json(started), indent=2) if json_output else describe_started(started))
            return ExitCode.PASS
        (record,) = runs.run([request], context.progress)
    context.progress.close()
    if isinstance(record, LlmopsError):
        raise record
    context.write(json.dumps(to_json(record), indent=2) if json_output else describe_run(record))
    return ExitCode.PASS


def describe_run(record: RunRecord) -> str:
    """Say in a few lines how a run ended and what to do next."""
    counts = f"{record.completed} completed, {record.failed} failed, {record.unmeasured} unmeasured"
    label = " (stand-in model, not a real model)" if record.stand_in else ""
    calls = describe_calls(record.model_calls) if record.model_calls else ""
    return "\n".join(
        [
            f"{record.id}: {counts}; {record.cached} of {record.lines} from the cache{label}",
            *([f"Model calls: {calls}"] if calls else []),
            *([record.link] if record.link else []),
            f"Next: llmops evaluate {record.id}",
        ]
    )


def describe_started(record: RunRecord) -> str:
    """Say that a run was started, or has ended before, and what to do next."""
    if not record.status:
        return describe_run(record)
    lines = [f"{record.id}: {record.status}", record.link, f"Next: llmops runs wait {record.id}"]
    return "\n".join(filter(None, lines))
