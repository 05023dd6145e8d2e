"""Where a history is kept: adding a store adds one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from llmops.config.model import History, HistoryStoreName

Env = Mapping[str, str]


class HistoryStore(Protocol):
    """Files of JSON Lines that only grow. Several jobs may append at once; none of their lines is lost."""

    @property
    def place(self) -> str:
        """Where it is, for people; never a secret."""

    def read(self) -> Mapping[str, str]:
        """Return every file by its name; empty when there is no history yet.

        Raises:
            UsageError: what is there is no history.
            BackendError: it cannot be reached.
        """

    def append(self, lines: Mapping[str, Sequence[str]]) -> int:
        """Append lines to files, each only if it is not there yet.

        Guarantees: repeated after any failure, it appends what is missing and nothing twice.

        Args:
            lines: file to lines, without their ends.

        Returns:
            How many lines were appended.

        Raises:
            UsageError: what is there is no history, or it cannot be written.
            BackendError: it cannot be reached, or writing is refused.
        """


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What stores are opened with.

    Attributes:
        root: the project's folder.
        environment: name of the environment whose history it is.
        env: environment variables, for references and tokens.
        sleep: waits for a number of seconds.
    """

    root: Path
    environment: str
    env: Env
    sleep: Callable[[float], None]


def open_history(history: History, around: Surroundings) -> HistoryStore:
    """Open the store that an environment names; nothing is written yet.

    Raises:
        UsageError: its settings are unusable.
    """
    return _STORES[history.store](history, around)


def missing_lines(text: str, lines: Sequence[str]) -> list[str]:
    """Give the lines that a file does not hold yet, each once."""
    present = set(text.split("\n"))
    return [line for line in dict.fromkeys(lines) if line not in present]


def _folder(history: History, around: Surroundings) -> HistoryStore:
    from llmops.history.folder import FolderStore

    return FolderStore(around.root / history.folder)


def _artifact(history: History, around: Surroundings) -> HistoryStore:
    from llmops.history.artifact import ArtifactStore
    from llmops.history.folder import FolderStore

    name = f"llmops-history-{around.environment}"
    return ArtifactStore(around=around, name=name, kept=FolderStore(around.root / history.folder))


def _branch(history: History, around: Surroundings) -> HistoryStore:
    from llmops.history.branch import BranchStore

    return BranchStore(around, remote=history.remote, branch=history.branch)


def _blob(history: History, around: Surroundings) -> HistoryStore:
    from llmops.history.blob import open_blob_store

    return open_blob_store(history.url, around)


_STORES: Mapping[HistoryStoreName, Callable[[History, Surroundings], HistoryStore]] = {
    "folder": _folder,
    "artifact": _artifact,
    "branch": _branch,
    "blob": _blob,
}
