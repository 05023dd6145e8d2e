"""`llmops report`: render a verdict again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from llmops.errors import ExitCode, Problem, UsageError, near_match
from llmops.records import VerdictRecord, read_record
from llmops.reports import console
from llmops.reports.write import FILE_NAMES, FORMATS, Format, write_reports


def report(
    *,
    verdict: Path,
    output: Path | None,
    formats: Sequence[str],
    json_output: bool,
    write: Callable[[str], None],
    width: int = 100,
    color: bool = False,
    encoding: str = "utf-8",
) -> int:
    """Render a verdict that an earlier step recorded.

    Args:
        verdict: a `verdict.json`, or the folder that holds one.
        output: folder to write into; the verdict's own folder when None.
        formats: of `json`, `markdown`, `junit`, `html`; empty means all.
        json_output: write one JSON document (outcome, exit code of the check, paths) instead of the table.
        write: receives the text for standard output, without a trailing newline.
        width: columns of standard output.
        color: whether standard output takes ANSI colours.
        encoding: of standard output.

    Returns:
        0 whatever the verdict: the report was rendered. The gate's own answer is `llmops gate`.

    Raises:
        UsageError: no readable verdict there, an unknown format, or a folder that cannot be written.
    """
    chosen = _choose_formats(formats)
    path = verdict / FILE_NAMES["json"] if verdict.is_dir() else verdict
    record = read_record(path, VerdictRecord)
    written = write_reports(record, output or path.parent, chosen)
    paths = {name: str(file) for name, file in written.items()}
    if json_output:
        write(_to_json(record, paths))
    else:
        write(console.render(record, width=width, color=color, encoding=encoding, paths=paths))
    return ExitCode.PASS


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


def _to_json(verdict: VerdictRecord, paths: dict[str, str]) -> str:
    body = {
        "experiment": verdict.experiment,
        "outcome": verdict.outcome,
        "exit_code": verdict.exit_code,
        "reports": paths,
    }
    return json.dumps(body, indent=2)
