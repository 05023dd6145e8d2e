"""Names that people give to runs; a run's own id follows from what was run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from llmops.backends.protocols import RunReader
from llmops.config.model import NAME
from llmops.core.documents import from_json, to_json
from llmops.errors import UsageError, near_match
from llmops.records import RunRecord, write_text


@dataclass(frozen=True, kw_only=True)
class RunName:
    """A name with what was said of the run; the keys are those of prompt flow's run files."""

    name: str
    run: str
    display_name: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)


def keep_name(state: Path, named: RunName) -> None:
    """Keep a name; giving the same name to the same run again replaces what was said of it.

    Args:
        state: the project's `.llmops/` folder.
        named: the name.

    Raises:
        UsageError: the name belongs to another run, or is no name.
    """
    import re

    if not re.fullmatch(NAME, named.name):
        raise UsageError.of("not a valid name", where="name", found=f"'{named.name}'", expected=f"one matching {NAME}")
    known = read_names(state).get(named.name)
    if known is not None and known.run != named.run:
        raise UsageError.of(
            f"the name '{named.name}' belongs to another run",
            where="name",
            found=f"this run is {named.run}",
            expected=f"{known.run}, which has the name",
            fix="Choose another name; the run itself is kept under its id.",
        )
    write_text(_folder(state) / f"{named.name}.json", json.dumps(to_json(named), indent=2) + "\n")


def read_names(state: Path) -> dict[str, RunName]:
    """Read all names of a project."""
    files = sorted(_folder(state).glob("*.json"))
    return {path.stem: from_json(RunName, json.loads(path.read_text(encoding="utf-8"))) for path in files}


def find_run(state: Path, wanted: str, runs: RunReader) -> RunRecord:
    """Read the record of a run by its name, its id, or the beginning of the id of one that is recorded here.

    Args:
        state: the project's `.llmops/` folder.
        wanted: what the user wrote.
        runs: know it by its id.

    Raises:
        UsageError: there is no such run, or several.
    """
    named = read_names(state).get(wanted)
    identifier = named.run if named else wanted
    ids = sorted(path.parent.name for path in (state / "runs").glob("*/run.json"))
    matches = [identifier] if identifier in ids else [known for known in ids if known.startswith(identifier)]
    if len(matches) > 1:
        expected = ", ".join(matches)
        raise UsageError.of("several runs begin so", where="run", found=f"'{wanted}'", expected=expected)
    record = runs.find(matches[0] if matches else identifier)
    if record is None:
        raise UsageError.of(
            "no such run",
            where="run",
            found=f"'{wanted}'",
            expected="an id or a name that `llmops runs list` shows",
            fix=near_match(wanted, [*ids, *read_names(state)]),
        )
    return record


def _folder(state: Path) -> Path:
    return state / "run-names"
