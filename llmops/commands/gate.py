"""`llmops gate`: judge an evaluation by the experiment's limits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from llmops.backends.registry import open_runs
from llmops.commands.context import Context
from llmops.config.data import describe
from llmops.config.layers import Options, layer
from llmops.config.load import find_root, load_project, pick_experiments
from llmops.core.documents import to_json
from llmops.core.limits import Gate
from llmops.errors import UsageError
from llmops.evaluators.builtin.source import with_builtins
from llmops.evaluators.comparability import require_comparable
from llmops.evaluators.evaluation import read_evaluation
from llmops.evaluators.slices import read_slices, slice_columns
from llmops.evaluators.verdict import Case, decide
from llmops.records import EvaluationRecord, VerdictRecord
from llmops.reports import console
from llmops.reports.redaction import redact


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
        UsageError: no such evaluation, the two are not comparable, or only some rows were drawn.
    """
    project = load_project(find_root(context.folder))
    candidate = read_evaluation(project.state, evaluation)
    old = read_evaluation(project.state, baseline) if baseline and baseline != "none" else None
    if old:
        require_comparable(candidate, old)
    pick_experiments(project, [candidate.run.experiment])
    selection = layer(project, candidate.run.experiment, env=context.env, flags=flags)
    _require_all_rows(candidate)
    case = Case(
        experiment=selection.experiment.name,
        environment=candidate.run.environment,
        gate=selection.experiment.gate,
        specs={name: entry.metrics for name, entry in with_builtins(selection.experiment).evaluators.items()},
        candidate=candidate,
        baseline=old,
        baseline_reason=f"evaluation {old.id}" if old else "no baseline was named",
        slices=_slices(project.root, selection.experiment.gate, candidate),
    )
    with open_runs(selection.environment, project.state, context.env, context.say) as runs:
        verdict = decide(project.state, case, runs.lines)
    if selection.experiment.redact:
        verdict = redact(verdict)
    _show(context, verdict, project.state / "verdicts" / f"{verdict.id}.json", output, json_output=json_output)
    return verdict.exit_code


def _require_all_rows(candidate: EvaluationRecord) -> None:
    """Refuse rows that a sequential check chose to stop at: only its own looks have known error rates."""
    if candidate.rows == candidate.run.dataset.rows:
        return
    raise UsageError.of(
        "the evaluation rests on some of the rows only: a sequential check stopped there",
        where=candidate.id,
        found=f"{candidate.rows} of {candidate.run.dataset.rows} rows",
        fix=f"Run `llmops check {candidate.run.experiment}`, which returns its recorded verdict.",
    )


def _slices(root: Path, limits: Gate, candidate: EvaluationRecord) -> Mapping[str, Sequence[str]]:
    """Read the slices of the recorded rows from the data set, if it is still what it was."""
    if not slice_columns(limits):
        return {}
    data = candidate.run.dataset
    found = describe(root / data.path, label=data.path).digest
    if found != data.digest:
        raise UsageError.of(
            "the data set has changed since the run, so that its slices are not known",
            where=data.path,
            found=found,
            expected=data.digest,
            fix=f"Run `llmops check {candidate.run.experiment}` again.",
        )
    return read_slices(root / data.path, limits)


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
