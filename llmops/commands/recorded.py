"""Finds the verdicts that earlier steps or jobs recorded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from llmops.config.load import find_root, load_project
from llmops.config.model import NAME, Project
from llmops.errors import UsageError
from llmops.records import VerdictRecord, read_record
from llmops.reports.redaction import redact
from llmops.reports.write import FILE_NAMES

MOST_VERDICTS = 1_000
MOST_BYTES = 64 << 20
"""Of one verdict; 200 rows of the longest texts that a verdict keeps are below it."""


class Found(NamedTuple):
    """A verdict and the folder that its reports belong to."""

    folder: Path
    verdict: VerdictRecord


def find_verdicts(path: Path, *, expected: Sequence[str] | None = None) -> Sequence[Found]:
    """Read a `verdict.json`, the one in a folder, or all below it.

    Args:
        expected: experiments that should be there; when given, even if empty, a folder without verdicts is no error.

    Raises:
        UsageError: there is none, or one cannot be read.
    """
    if not path.is_dir() and (path.exists() or expected is None):
        return [Found(path.parent, read_record(path, VerdictRecord))]
    name = FILE_NAMES["json"]
    files = [path / name] if (path / name).is_file() else sorted(path.rglob(name))
    if not files and expected is None:
        return [Found(path, read_record(path / name, VerdictRecord))]
    if len(files) > MOST_VERDICTS:
        raise UsageError.of("too many verdicts", where=str(path), found=str(len(files)))
    found = [Found(file.parent, _read(file)) for file in files]
    doubled = {one.verdict.experiment for one in found}
    if len(doubled) != len(found):
        raise UsageError.of("two verdicts of one experiment", where=str(path), found=", ".join(map(str, files)))
    return found


def _read(file: Path) -> VerdictRecord:
    """Read one of several verdicts; they may come from a job that ran a stranger's code."""
    if file.is_symlink() or file.stat().st_size > MOST_BYTES:
        expected = f"a file of at most {MOST_BYTES} bytes"
        raise UsageError.of("not a verdict to be read", where=str(file), expected=expected)
    verdict = read_record(file, VerdictRecord)
    if not re.fullmatch(NAME, verdict.experiment):
        raise UsageError.of("not an experiment's name", where=str(file), expected=f"a name that matches {NAME}")
    return verdict


def project_at_hand(folder: Path) -> Project | None:
    """Read the project's configuration; a job that only reports has none."""
    try:
        return load_project(find_root(folder))
    except UsageError:
        return None


def redacted(found: Found, project: Project | None) -> Found:
    """Leave out what rows say, where the experiment's configuration asks for it."""
    experiment = project.experiments.get(found.verdict.experiment) if project else None
    return found._replace(verdict=redact(found.verdict)) if experiment and experiment.redact else found


def find_missing(found: Sequence[Found], expected: Sequence[str] | None) -> Sequence[str]:
    """Name the expected experiments that have no verdict, each once, in the order given."""
    known = {one.verdict.experiment for one in found}
    return [name for name in dict.fromkeys(expected or ()) if name not in known]
