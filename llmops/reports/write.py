"""Writes the reports of a verdict into a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from llmops.errors import UsageError
from llmops.records import VerdictRecord, write_record, write_text

Format = Literal["json", "markdown", "junit", "html"]
FORMATS: Sequence[Format] = get_args(Format)
FILE_NAMES: Mapping[Format, str] = {
    "json": "verdict.json",
    "markdown": "report.md",
    "junit": "junit.xml",
    "html": "report.html",
}


def write_reports(verdict: VerdictRecord, folder: Path, formats: Sequence[Format] = FORMATS) -> Mapping[str, Path]:
    """Write `verdict.json`, `report.md`, `junit.xml` and `report.html` into a folder, each atomically.

    Args:
        verdict: what to render.
        folder: made if it is missing; files of these names in it are replaced.
        formats: which of the four; they are written in this order.

    Returns:
        Format to the path that was written.

    Raises:
        UsageError: the folder cannot be written.
    """
    paths = {name: folder / FILE_NAMES[name] for name in formats}
    for name, path in paths.items():
        try:
            _WRITERS[name](path, verdict)
        except OSError as error:
            found = error.strerror or str(error)
            raise UsageError.of(
                "cannot write the report", where=str(path), found=found, fix="Name another folder."
            ) from error
    return {str(name): path for name, path in paths.items()}


def _write_markdown(path: Path, verdict: VerdictRecord) -> None:
    from llmops.reports import markdown

    write_text(path, markdown.render(verdict))


def _write_junit(path: Path, verdict: VerdictRecord) -> None:
    from llmops.reports import junit

    write_text(path, junit.render(verdict))


def _write_html(path: Path, verdict: VerdictRecord) -> None:
    from llmops.reports import html

    write_text(path, html.render(verdict))


_WRITERS: Mapping[Format, Callable[[Path, VerdictRecord], None]] = {
    "json": write_record,
    "markdown": _write_markdown,
    "junit": _write_junit,
    "html": _write_html,
}
