"""Run records and their lines as every backend keeps them under `.llmops/`, so that later steps need no backend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmops.backends.protocols import RunLog
from llmops.errors import UsageError
from llmops.records import Line, PendingRecord, RunRecord, line_from_json, read_record, write_record, write_stream


@dataclass(frozen=True)
class RecordedRuns:
    """The reading half of `Runs`.

    Args:
        state: the project's `.llmops/` folder.
    """

    state: Path

    def lines(self, run: RunRecord) -> Iterator[Line]:
        """See `Runs.lines`."""
        path = self.folder(run.id) / "lines.jsonl"
        try:
            with path.open(encoding="utf-8") as handle:
                for text in handle:
                    yield line_from_json(text)
        except FileNotFoundError:
            raise UsageError.of(
                "the run's lines are missing", where=str(path), fix="Run the same command again."
            ) from None

    def find(self, run_id: str) -> RunRecord | None:
        """See `Runs.find`."""
        path = self.folder(run_id) / "run.json"
        return read_record(path, RunRecord) if path.exists() else None

    def require(self, run_id: str) -> RunRecord:
        """Return the record of a run.

        Raises:
            UsageError: there is none.
        """
        record = self.find(run_id)
        if record is None:
            raise UsageError.of("no such run", where="run", found=f"'{run_id}'")
        return record

    def environment_of(self, run_id: str) -> str:
        """Name the environment of a run, of one that has not ended too.

        Raises:
            UsageError: there is no such run.
        """
        path = self.folder(run_id) / "pending.json"
        if path.exists():
            return read_record(path, PendingRecord).run.environment
        return self.require(run_id).environment

    def has_lines(self, run_id: str) -> bool:
        """Tell whether the lines of a run are there too."""
        return (self.folder(run_id) / "lines.jsonl").exists()

    def list_all(self) -> Sequence[RunRecord]:
        """See `Runs.list_all`."""
        records = [read_record(path, RunRecord) for path in (self.state / "runs").glob("*/run.json")]
        return sorted(records, key=lambda record: (record.ended_at, record.id), reverse=True)

    def read_log(self, run_id: str) -> RunLog:
        """See `Runs.read_log`."""
        record = self.find(run_id)
        path = self.state / "logs" / record.log if record and record.log else None
        return RunLog(path.read_text(encoding="utf-8", errors="replace") if path and path.exists() else "")

    def write_lines(self, run_id: str, texts: Iterable[str]) -> None:
        """Keep the lines of a run, each as one JSON text."""
        write_stream(self.folder(run_id) / "lines.jsonl", texts)

    def write(self, record: RunRecord) -> None:
        """Keep the record of a run; its lines must be there."""
        write_record(self.folder(record.id) / "run.json", record)

    def folder(self, run_id: str) -> Path:
        """Return the folder that holds a run's record and lines."""
        return self.state / "runs" / run_id
