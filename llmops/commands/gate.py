"""`llmops gate`: judge an evaluation by the experiment's limits."""

from __future__ import annotations

import json
from pathlib import Path

from llmops.backends.registry import open_runs
from llmops.commands.context import Context
from llmops.config.layers import Options, layer
from llmops.config.load import find_root, load_project, pick_experiments
from llmops.core.documents import to_json
from llmops.errors import Problem, UsageError
from llmops.evaluators.evaluation import read_evaluation
from llmops.evaluators.verdict import Case, decide
from llmops.records import EvaluationRecord, VerdictRecord
from llmops.reports import console


def gate(
    *, context: Context, evaluation: str, baseline: str | None, flags: Options, output: Path | None, json_output: bool
) -> int:
    """Judge a recorded evaluation, against another one where the limits ask for it.

    Args:
        evaluation: the id that `llmops evaluate` printed.
        baseline: the id of the baseline's evaluation; None or `none` when there is no baseline.
        output: file for the verdict record besides `.llmops/verdicts/`.
        json_output: write the record instead of a table.

    Returns:
        0 pass, 10 fail, 11 inconclusive.

    Raises:
        UsageError: no such evaluation, or the two are not comparable.
    """
    project = load_project(find_root(context.folder))
    candidate = read_evaluation(project.state, evaluation)
    old = read_evaluation(project.state, baseline) if baseline and baseline != "none" else None
    if old:
        require_comparable(candidate, old)
    pick_experiments(project, [candidate.run.experiment])
    selection = layer(project, candidate.run.experiment, env=context.env, flags=flags)
    case = Case(
        experiment=selection.experiment.name,
        environment=candidate.run.environment,
        gate=selection.experiment.gate,
        specs={name: entry.metrics for name, entry in selection.experiment.evaluators.items()},
        candidate=candidate,
        baseline=old,
        baseline_reason=f"evaluation {old.id}" if old else "no baseline was named",
    )
    with open_runs(selection.environment, project.state, context.env, context.say) as runs:
        verdict = decide(project.state, case, runs.lines)
    _show(context, verdict, project.state / "verdicts" / f"{verdict.id}.json", output, json_output=json_output)
    return verdict.exit_code


def require_comparable(candidate: EvaluationRecord, baseline: EvaluationRecord) -> None:
    """Refuse to compare runs over other data or by other evaluators.

    Raises:
        UsageError: what differs, and how to score the baseline again.
    """
    pairs = [("data set", candidate.run.dataset.digest, baseline.run.dataset.digest)]
    for name in sorted({*candidate.evaluators, *baseline.evaluators}):
        pairs.append(
            (f"evaluator '{name}'", candidate.evaluators.get(name, "none"), baseline.evaluators.get(name, "none"))
        )
    problems = [
        Problem(
            what=f"the {what} of candidate and baseline differ",
            found=f"candidate {new}, baseline {old}",
            fix=f"Score the baseline again: llmops evaluate {baseline.run.id}",
        )
        for what, new, old in pairs
        if new != old
    ]
    if problems:
        raise UsageError(*problems)


def _show(context: Context, verdict: VerdictRecord, path: Path, output: Path | None, *, json_output: bool) -> None:
    if output:
        from llmops.records import write_record

        write_record(output, verdict)
        path = output
    if json_output:
        context.write(json.dumps(to_json(verdict), indent=2))
        return
    context.write(
        console.render(
            verdict, width=context.width, color=context.color, encoding=context.encoding, paths={"verdict": str(path)}
        )
    )
    context.write(f"Next: llmops report {path}")
