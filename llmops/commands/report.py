"""`llmops report`: render verdicts again, and show them on the CI system's pages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmops.commands.context import Context
from llmops.commands.host_report import add_summaries, annotate_verdicts, outcome_of, set_outputs
from llmops.commands.recorded import Found, find_missing, find_verdicts, project_at_hand, redacted
from llmops.config.model import Project
from llmops.errors import ExitCode, Problem, UsageError, first_to_report, near_match
from llmops.records import write_text
from llmops.reports import console
from llmops.reports.plain_text import show_line
from llmops.reports.write import FORMATS, Format, write_reports

OVERVIEW = "overview.md"


def report(
    *,
    context: Context,
    verdict: Path,
    output: Path | None = None,
    formats: Sequence[str] = (),
    expected: Sequence[str] | None = None,
    exit_code: bool = False,
    json_output: bool = False,
) -> int:
    """Render verdicts that earlier steps recorded.

    On the CI system's page of the run, what they say in short is shown. A single verdict's limits that were not met are
    annotated, unless `expected` is given: the jobs that recorded the verdicts have then done so.

    Args:
        verdict: a `verdict.json`, the folder that holds one, or a folder with several below it.
        output: folder to write into, a folder per experiment when there are several; the verdicts' own when None.
        formats: of `json`, `markdown`, `junit`, `html`; empty means all.
        expected: experiments that should have a verdict; one that has none is reported and is no pass. When given,
            even if empty, a folder without verdicts is no error.
        exit_code: return the checks' exit code.
        json_output: write one JSON document (outcome, exit code of the check, paths) instead of the table.

    Returns:
        0 whatever the verdict: the report was rendered. With `exit_code` the worst of the checks' own, and 11 when a
        verdict is missing.

    Raises:
        UsageError: no readable verdict there, an unknown format, or a folder that cannot be written.
    """
    chosen = _choose_formats(formats)
    project = project_at_hand(context.folder)
    found = [redacted(one, project) for one in find_verdicts(verdict, expected=expected)]
    missing = find_missing(found, expected)
    written = [_write(one, output, chosen, is_single=len(found) == 1) for one in found]
    if json_output:
        context.write(_to_json(found, written, missing, is_single=len(found) == 1 and expected is None))
    else:
        _show(context, found, written, missing)
        _tell_host(context, project, found, missing, output or verdict, told=expected is not None)
    return _worst(found, missing) if exit_code else ExitCode.PASS


def _worst(found: Sequence[Found], missing: Sequence[str]) -> ExitCode:
    codes = [ExitCode(one.verdict.exit_code) for one in found]
    return first_to_report([*codes, *([ExitCode.INCONCLUSIVE] if missing else [])])


def _write(found: Found, output: Path | None, formats: Sequence[Format], *, is_single: bool) -> dict[str, str]:
    folder = found.folder if output is None else output if is_single else output / found.verdict.experiment
    return {name: str(path) for name, path in write_reports(found.verdict, folder, formats).items()}


def _show(context: Context, found: Sequence[Found], written: Sequence[dict[str, str]], missing: Sequence[str]) -> None:
    verdicts = [one.verdict for one in found]
    look: dict[str, Any] = {"width": context.width, "color": context.color, "encoding": context.encoding}
    if len(found) == 1:
        context.write(console.render(verdicts[0], **look, paths=written[0]))
    elif found:
        context.write(console.render_several(verdicts, **look))
    for name in missing:
        context.write(f"{show_line(name, 100)}: no verdict; see the log of its job")


def _tell_host(
    context: Context,
    project: Project | None,
    found: Sequence[Found],
    missing: Sequence[str],
    folder: Path,
    *,
    told: bool,
) -> None:
    from llmops.reports.comment import render_comment

    verdicts = [one.verdict for one in found]
    if len(found) == 1 and not told:
        annotate_verdicts(context, project, verdicts)
    if context.host.name != "none":
        place = (folder if folder.is_dir() or not folder.suffix else folder.parent) / OVERVIEW
        write_text(place, render_comment(verdicts, missing=missing))
        add_summaries(context, [place])
    worst = _worst(found, missing)
    set_outputs(context, {"outcome": outcome_of(worst), "exit_code": str(int(worst))})


def _choose_formats(formats: Sequence[str]) -> Sequence[Format]:
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        expected = ", ".join(FORMATS)
        problems = (
            Problem(
                what="unknown report format",
                where="--format",
                found=repr(name),
                expected=expected,
                fix=near_match(name, FORMATS),
            )
            for name in unknown
        )
        raise UsageError(*problems)
    return [name for name in FORMATS if name in formats] if formats else FORMATS


def _to_json(
    found: Sequence[Found], written: Sequence[dict[str, str]], missing: Sequence[str], *, is_single: bool
) -> str:
    bodies: list[dict[str, Any]] = [
        {
            "experiment": one.verdict.experiment,
            "outcome": one.verdict.outcome,
            "exit_code": one.verdict.exit_code,
            "reports": paths,
        }
        for one, paths in zip(found, written, strict=True)
    ]
    return json.dumps(bodies[0] if is_single else {"experiments": bodies, "missing": list(missing)}, indent=2)
