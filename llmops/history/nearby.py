"""The history as it is at hand: in a folder, or in a branch that was fetched. Nothing is asked over the network."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from llmops.config.model import Environment, History
from llmops.flows.git import git_command, git_environment
from llmops.history.entry import HistoryEntry, file_of, read_entries

NEWEST = 60
_TIMEOUT_S = 30


class Past(NamedTuple):
    """What scheduled evaluations of the main branch found, oldest first, and in which environment."""

    environment: str
    entries: Sequence[HistoryEntry]


def find_past(
    root: Path, environments: Mapping[str, Environment], *, experiment: str, environment: str, dataset: str
) -> Past | None:
    """Find evaluations of an experiment's flow over a data set: in the same environment, else in the one used last.

    Args:
        root: of the project.
        environments: of the project; each names a store.
        experiment, environment, dataset: names.

    Returns:
        The newest `NEWEST` evaluations that have a verdict; None when there are none at hand.
    """
    found = []
    for name, one in environments.items():
        entries = read_entries(_texts(one.history, root, file_of(experiment, name))).entries
        fitting = [e for e in entries if e.subject == "flow" and e.dataset.name == dataset and e.outcome != "error"]
        if fitting:
            found.append(Past(name, fitting[-NEWEST:]))
    return max(found, key=lambda past: (past.environment == environment, past.entries[-1].at), default=None)


def _texts(history: History, root: Path, file: str) -> Iterator[str]:
    if history.store in ("folder", "artifact"):
        path = root / history.folder / file
        if path.is_file():
            yield path.read_text("utf-8", "replace")
    elif history.store == "branch" and "/" not in history.remote and ":" not in history.remote:
        spec = f"refs/remotes/{history.remote}/{history.branch}:{file}"
        try:
            answer = subprocess.run(
                git_command(root, "cat-file", "blob", spec),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=git_environment(),
                timeout=_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return
        if answer.returncode == 0:
            yield answer.stdout.decode("utf-8", "replace")
