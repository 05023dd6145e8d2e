"""A history in a folder, which a pipeline can keep as an artifact."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmops.errors import UsageError
from llmops.history.stores import missing_lines


@dataclass(frozen=True)
class FolderStore:
    """See `HistoryStore`.

    Args:
        folder: is made when something is appended.
    """

    folder: Path

    @property
    def place(self) -> str:
        """See `HistoryStore.place`."""
        return str(self.folder)

    def read(self) -> Mapping[str, str]:
        """See `HistoryStore.read`."""
        paths = sorted(self.folder.glob("*/*.jsonl"))
        return {path.relative_to(self.folder).as_posix(): path.read_text("utf-8", "replace") for path in paths}

    def append(self, lines: Mapping[str, Sequence[str]]) -> int:
        """See `HistoryStore.append`."""
        try:
            return sum(_append(self.folder / file, added) for file, added in lines.items())
        except OSError as error:
            found = error.strerror or str(error)
            raise UsageError.of("the history cannot be written", where=self.place, found=found) from error


def _append(path: Path, lines: Sequence[str]) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8", errors="replace", newline="\n") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        handle.seek(0)
        text = handle.read()
        missing = missing_lines(text, lines)
        # A crash may have cut the last line; what follows starts on a line of its own.
        start = "\n" if text and not text.endswith("\n") else ""
        handle.write("".join([start, *(f"{line}\n" for line in missing)]) if missing else "")
        handle.flush()
        os.fsync(handle.fileno())
    return len(missing)
