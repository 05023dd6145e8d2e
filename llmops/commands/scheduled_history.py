"""The histories of a scheduled evaluation: one for each environment, in the store that it names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from llmops.config.model import Project
from llmops.errors import ExitCode, LlmopsError
from llmops.history.entry import HistoryEntry, Read, read_entries, write_line
from llmops.history.stores import HistoryStore, Surroundings, open_history


class Trouble(NamedTuple):
    """What could not be kept or told: a sentence, and the exit code that it is worth; 0 for a warning."""

    sentence: str
    code: ExitCode


@dataclass(kw_only=True)
class Histories:
    """Reads and appends; what cannot be reached is noted once and never stops a measurement.

    Attributes:
        troubles: what could not be read.
    """

    project: Project
    env: Mapping[str, str]
    sleep: Callable[[float], None]
    troubles: list[Trouble] = field(default_factory=list)
    _read: dict[str, Read] = field(default_factory=dict)

    def reader(self, environment: str) -> Callable[[], Sequence[HistoryEntry]]:
        """Give a function that reads the history of an environment when it is first asked."""
        return lambda: self._of(environment).entries

    def append(self, entries: Sequence[HistoryEntry]) -> list[Trouble]:
        """Append entries, each to the history of its environment; all others are kept even if one store refuses."""
        troubles = []
        for environment in dict.fromkeys(entry.environment for entry in entries):
            lines: dict[str, list[str]] = {}
            for entry in entries:
                if entry.environment == environment:
                    lines.setdefault(entry.file, []).append(write_line(entry))
            try:
                self._open(environment).append(lines)
            except LlmopsError as error:
                troubles.append(_trouble(environment, "kept", error))
            self._read.pop(environment, None)
        return troubles

    def with_entries(self, entries: Sequence[HistoryEntry]) -> Read:
        """Read all histories that the entries belong to, the entries included even where they could not be kept."""
        read = [self._of(environment) for environment in dict.fromkeys(entry.environment for entry in entries)]
        found = {entry.id: entry for one in read for entry in one.entries} | {entry.id: entry for entry in entries}
        return Read(sorted(found.values(), key=lambda entry: entry.at), sum(one.damaged for one in read))

    def _of(self, environment: str) -> Read:
        if environment not in self._read:
            try:
                self._read[environment] = read_entries(self._open(environment).read().values())
            except LlmopsError as error:
                self.troubles.append(_trouble(environment, "read", error))
                self._read[environment] = Read((), 0)
        return self._read[environment]

    def _open(self, environment: str) -> HistoryStore:
        around = Surroundings(root=self.project.root, environment=environment, env=self.env, sleep=self.sleep)
        return open_history(self.project.environments[environment].history, around)


def _trouble(environment: str, verb: str, error: LlmopsError) -> Trouble:
    text = " ".join(str(error).split())
    return Trouble(f"the history of environment '{environment}' could not be {verb}: {text}", error.exit_code)
