"""Tells the CI system what came of checks: annotations at the limits that were not met, a summary, step outputs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from llmops.commands.context import Context
from llmops.config.document import Steps
from llmops.config.load import locate
from llmops.config.model import Project
from llmops.core.limits import Gate
from llmops.core.metrics import Finding
from llmops.errors import ExitCode, LlmopsError
from llmops.hosts.detect import NONE
from llmops.hosts.host import Annotation, Env, Host, worst_first
from llmops.records import VerdictRecord
from llmops.reports.plain_text import defuse_log_commands, show_line
from llmops.reports.summary import OUTCOME_WORDS, findings_to_read, name_limit, say

_PLACE = re.compile(r"(?P<file>[^:]+):(?P<line>\d+)(?:: .*)?", re.DOTALL)


def annotate_verdicts(context: Context, project: Project | None, verdicts: Sequence[VerdictRecord]) -> None:
    """Show each limit that was not met where the configuration sets it, and beside it the prompts that changed.

    Args:
        project: None when its files are not at hand; the remarks then belong to no file.
    """
    if context.host is NONE:
        return
    annotations = [item for verdict in verdicts for item in _annotations(context, project, verdict)]
    if project is not None:
        annotations += [item for verdict in verdicts for item in _prompt_annotations(context, project, verdict)]
    for annotation in worst_first(annotations):
        context.command(context.host.annotate(annotation))


def annotate_errors(context: Context, errors: Mapping[str, LlmopsError]) -> None:
    """Show why experiments have no verdict."""
    if context.host is NONE:
        return
    for experiment, error in errors.items():
        message = defuse_log_commands(show_line(str(error), 1_000))
        context.command(
            context.host.annotate(Annotation(level="error", title=f"{experiment} has no verdict", message=message))
        )


def outcome_of(exit_code: ExitCode) -> str:
    """Say in a word how checks ended: pass, fail, inconclusive or error."""
    words = {ExitCode.PASS: "pass", ExitCode.GATE_FAILED: "fail", ExitCode.INCONCLUSIVE: "inconclusive"}
    return words.get(exit_code, "error")


def add_summaries(context: Context, reports: Sequence[Path]) -> None:
    """Show Markdown reports on the page of the run."""
    for path in reports:
        for line in context.host.add_summary(context.env, path):
            context.command(line)


def set_outputs(context: Context, values: Mapping[str, str]) -> None:
    """Give values to the steps and jobs that follow."""
    for name, value in values.items():
        for line in context.host.set_output(context.env, name, value):
            context.command(line)


def _annotations(context: Context, project: Project | None, verdict: VerdictRecord) -> Iterator[Annotation]:
    blocks = verdict.exit_code != ExitCode.PASS
    for finding in findings_to_read(verdict):
        file, line = "", 0
        if project is not None and verdict.experiment in project.experiments:
            steps = limit_steps(project.experiments[verdict.experiment].gate, finding)
            place = _PLACE.fullmatch(locate(project, verdict.experiment, steps, environment=verdict.environment))
            if place:
                file, line = in_workspace(project, context.host, context.env, place["file"]), int(place["line"])
        yield Annotation(
            level="note" if finding.outcome == "skipped" else "error" if finding.blocks and blocks else "warning",
            title=show_line(f"{verdict.experiment}: {name_limit(finding)}", 200),
            message=defuse_log_commands(show_line(say(finding), 1_000)),
            file=file,
            line=line,
        )


def _prompt_annotations(context: Context, project: Project, verdict: VerdictRecord) -> Iterator[Annotation]:
    """Point at the prompts that changed, when something was not met."""
    if verdict.outcome == "pass":
        return
    for change in verdict.changes:
        if change.is_prompt and change.file:
            yield Annotation(
                level="note",
                title=show_line(f"{verdict.experiment} {OUTCOME_WORDS[verdict.outcome]}: a prompt changed", 200),
                message=defuse_log_commands(show_line(change.text, 1_000)),
                file=in_workspace(project, context.host, context.env, change.file),
                line=change.line,
            )


def limit_steps(gate: Gate, finding: Finding) -> Steps:
    """Find the setting that a finding judges: `gate.thresholds[1].min`, `gate.max_failed`."""
    kind = finding.limit.partition(" ")[0]
    at = next((at for at, one in enumerate(gate.thresholds) if one.metric == finding.metric), None)
    return ("gate", kind) if at is None else ("gate", "thresholds", at, kind)


def in_workspace(project: Project, host: Host, env: Env, file: str) -> str:
    """Name a project's file as the CI system does, relative to its workspace."""
    workspace = env.get(host.workspace, "") if host.workspace else ""
    path = project.root / file
    if not workspace or not path.is_relative_to(Path(workspace).resolve()):
        return file
    return path.relative_to(Path(workspace).resolve()).as_posix()
