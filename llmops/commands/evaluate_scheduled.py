"""`llmops evaluate --scheduled`: measure the main branch and what serves, keep a history, tell people when it fails."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from llmops.commands.context import Context
from llmops.commands.host_report import add_summaries, annotate_errors, annotate_verdicts, outcome_of, set_outputs
from llmops.commands.preparation import Prepared, prepare
from llmops.commands.scheduled_history import Histories, Trouble
from llmops.commands.scheduled_issue import tell_issues
from llmops.commands.scheduled_measurement import Measurement, Occasion, measure_endpoint, measure_flow
from llmops.commands.targets import Target, Tools, target_of
from llmops.config.layers import Options, Selection, layer
from llmops.config.load import find_root, load_project, pick_experiments
from llmops.config.model import Project
from llmops.errors import ExitCode, Problem, UsageError, first_to_report
from llmops.history.entry import Subject
from llmops.hosts.detect import NONE
from llmops.hosts.host import Annotation
from llmops.hosts.identity import identify
from llmops.records import write_text
from llmops.reports import history_page
from llmops.reports.plain_text import defuse_log_commands, show_line
from llmops.reports.scheduled import WORDS, broken_limits, describe_limit, describe_subject, render_overview

PAGE = "history.html"
OVERVIEW = "overview.md"


@dataclass(frozen=True, kw_only=True)
class _Planned:
    """One measurement that is to be made."""

    subject: Subject
    prepared: Prepared
    target: Target


def evaluate_scheduled(
    *,
    context: Context,
    tools: Tools,
    experiments: Sequence[str],
    flags: Options,
    output: Path | None,
    occasion: str | None,
    dry_run: bool,
    json_output: bool,
) -> int:
    """Evaluate the configured data sets on the flow as it is checked out, and on what environments serve.

    Args:
        experiments: names; empty means all.
        flags: an environment restricts all to it; a data set wins over those that are configured.
        output: folder for the reports and the history page; `.llmops/reports/scheduled/` when None.
        occasion: answers of the same one are reused, of others never; the CI system's run, else the day, when None.
        dry_run: record nothing and open, change and close no issue.
        json_output: write one JSON document instead of text.

    Returns:
        The exit code of the measurement that is worst off, by `errors.first_to_report`; 4 when the history could not
        be kept and nothing is worse. An issue that could not be told warns and changes nothing.

    Raises:
        UsageError: something is wrong with the configuration; then nothing was measured.
    """
    project = load_project(find_root(context.folder))
    chosen = [one.name for one in pick_experiments(project, experiments)]
    planned = _plan(project, chosen, context.env, flags)
    is_kept = not dry_run and not _is_rehearsal(context)
    now = _occasion(context, tools, project, occasion, output)
    histories = Histories(project=project, env=context.env, sleep=tools.clock.sleep)
    measured = list(_measure(context, tools, planned, now, histories, speaks=not json_output))
    context.progress.close()
    entries = [one.entry for one in measured]
    troubles = histories.append(entries) if is_kept else []
    known = histories.with_entries(entries)
    page = now.output / PAGE
    write_text(page, history_page.render(known.entries, damaged=known.damaged))
    troubles = [*troubles, *histories.troubles]
    if is_kept:
        troubles += tell_issues(context, project, entries, known.entries, sleep=tools.clock.sleep)
    overview = now.output / OVERVIEW
    write_text(overview, render_overview(entries, [one.sentence for one in troubles]))
    exit_code = first_to_report([*(ExitCode(one.exit_code) for one in entries), *(one.code for one in troubles)])
    if json_output:
        context.write(_to_json(measured, page, troubles))
        return exit_code
    for one in troubles:
        _warn(context, one)
    context.write(f"History: {page}{'' if is_kept else ' (nothing was recorded)'}")
    _tell_host(context, project, measured, overview, exit_code)
    return exit_code


def _plan(project: Project, names: Sequence[str], env: Mapping[str, str], flags: Options) -> Sequence[_Planned]:
    """Prepare all measurements.

    Raises:
        UsageError: every problem of all of them, or there is nothing to measure.
    """
    planned: list[_Planned] = []
    problems: list[Problem] = []
    for name in names:
        for subject, selection in _selections(project, name, env, flags):
            try:
                prepared = prepare(project, selection, env)
                planned.append(_Planned(subject=subject, prepared=prepared, target=target_of(project, selection)))
            except UsageError as error:
                problems.extend(error.problems)
    if problems:
        raise UsageError(*dict.fromkeys(problems))
    if not planned:
        fix = "Set `scheduled.flow` or `scheduled.endpoints` of an experiment to true."
        raise UsageError.of("nothing is to be measured", fix=fix)
    return planned


def _selections(
    project: Project, name: str, env: Mapping[str, str], flags: Options
) -> Iterator[tuple[Subject, Selection]]:
    own = layer(project, name, env=env, flags=flags)
    yield from (("flow", one) for one in _each_dataset(project, own, env, flags) if own.experiment.scheduled.flow)
    asked = flags.environment or env.get("LLMOPS_ENVIRONMENT", "")
    for environment in [asked] if asked else project.environments:
        there = layer(project, name, env=env, flags=replace(flags, environment=environment))
        if there.experiment.scheduled.endpoints:
            yield from (("endpoint", one) for one in _each_dataset(project, there, env, flags))


def _each_dataset(
    project: Project, selection: Selection, env: Mapping[str, str], flags: Options
) -> Iterator[Selection]:
    """Give the selection once for each data set that is asked for, else configured, else the experiment's own."""
    experiment = selection.experiment
    asked = flags.dataset or env.get("LLMOPS_DATASET", "")
    for dataset in [asked] if asked else experiment.scheduled.datasets or [experiment.dataset]:
        options = replace(flags, environment=selection.environment.name, dataset=dataset)
        yield layer(project, experiment.name, env=env, flags=options)


def _measure(
    context: Context,
    tools: Tools,
    planned: Sequence[_Planned],
    now: Occasion,
    histories: Histories,
    *,
    speaks: bool,
) -> Iterator[Measurement]:
    for one in planned:
        if one.subject == "flow":
            found: Measurement | None = measure_flow(context, one.prepared, now)
        else:
            environment = one.target.environment.name
            history = histories.reader(environment)
            found = measure_endpoint(context, tools, one.target, one.prepared, now, history)
        if found is None:
            context.say(f"{one.target.endpoint}: nothing serves there.")
            continue
        if speaks:
            context.write(_describe(found))
        yield found


def _occasion(context: Context, tools: Tools, project: Project, asked: str | None, output: Path | None) -> Occasion:
    link = identify(context.env).link
    today = datetime.fromtimestamp(tools.clock.now(), timezone.utc).date().isoformat()
    folder = output or project.state / "reports" / "scheduled"
    return Occasion(name=asked or link or today, output=folder, link=link)


def _is_rehearsal(context: Context) -> bool:
    """Say whether a person started this for another branch than the main one: then it is tried, and not recorded."""
    if context.host.name != "github" or context.env.get("GITHUB_EVENT_NAME") != "workflow_dispatch":
        return False
    from llmops.hosts.github_pull_request import read_event

    main = (read_event(context.env.get("GITHUB_EVENT_PATH", "")).get("repository") or {}).get("default_branch")
    return bool(main) and context.env.get("GITHUB_REF") != f"refs/heads/{main}"


def _warn(context: Context, trouble: Trouble) -> None:
    if context.host is NONE:
        context.say(f"warning: {trouble.sentence}")
        return
    message = defuse_log_commands(show_line(trouble.sentence, 1_000))
    title = "Not all of the scheduled evaluation was kept or told"
    context.command(context.host.annotate(Annotation(level="warning", title=title, message=message)))


def _describe(found: Measurement) -> str:
    entry = found.entry
    place = f"{entry.experiment} in {entry.environment}, {describe_subject(entry)}, data set {entry.dataset.name}"
    if found.error is not None:
        return f"{place}: {WORDS[entry.outcome]}\n  {found.error}"
    counts = f"{entry.scored} scored, {entry.failed} failed, {entry.unmeasured} unmeasured"
    lines = [f"{place}: {WORDS[entry.outcome]}, {counts}"]
    lines += [f"  {describe_limit(limit, entry)}" for limit in broken_limits(entry)]
    return "\n".join([*lines, f"  {found.reports.get('html', '')}"])


def _tell_host(
    context: Context, project: Project, measured: Sequence[Measurement], overview: Path, exit_code: ExitCode
) -> None:
    annotate_verdicts(context, project, [one.verdict for one in measured if one.verdict])
    annotate_errors(context, {one.entry.experiment: one.error for one in measured if one.error})
    add_summaries(context, [overview])
    set_outputs(context, {"outcome": outcome_of(exit_code), "exit_code": str(int(exit_code))})


def _to_json(measured: Sequence[Measurement], page: Path, troubles: Sequence[Trouble]) -> str:
    bodies = [
        {
            "experiment": one.entry.experiment,
            "environment": one.entry.environment,
            "subject": one.entry.subject,
            "dataset": one.entry.dataset.name,
            "version": one.entry.version,
            "outcome": one.entry.outcome,
            "exit_code": one.entry.exit_code,
            "verdict": one.entry.verdict,
            "reports": dict(one.reports),
            "error": str(one.error) if one.error else None,
        }
        for one in measured
    ]
    document = {"measurements": bodies, "history": str(page), "problems": [one.sentence for one in troubles]}
    return json.dumps(document, indent=2)
