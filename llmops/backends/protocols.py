"""What a backend must do; `commands` know nothing else of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from llmops.config.connections import ResolvedConnection
from llmops.errors import LlmopsError
from llmops.flows.closure import Closure
from llmops.flows.model import Flow
from llmops.flows.tree import FileTree
from llmops.records import DatasetRef, FlowRef, Line, RunRecord


@dataclass(frozen=True, kw_only=True)
class FlowSource:
    """A flow version: what it is called, and where its files are read from.

    Attributes:
        tree: the working tree or a commit; `closure` was found in it.
    """

    ref: FlowRef
    tree: FileTree
    closure: Closure

    @property
    def flow(self) -> Flow:
        """What the definition says."""
        return self.closure.flow


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """Everything that decides the outcome of a run, and how to go about it.

    Attributes:
        label: name for progress and messages, for instance `candidate`.
        target: the run whose lines are evaluated, a request earlier in the same call or a run of before; None for a
            run of the flow itself.
        environment_variables: literal values or `${env:NAME}` references.
        is_required: False lets the other requests go on when this one cannot run at all.
    """

    label: str
    experiment: str
    source: FlowSource
    dataset: DatasetRef
    data: Path
    column_mapping: Mapping[str, Any]
    environment: str
    connections: Mapping[str, ResolvedConnection]
    environment_variables: Mapping[str, str] = field(default_factory=dict)
    target: RunRequest | RunRecord | None = None
    repeats: int = 1
    concurrency: int = 16
    line_timeout_s: float = 600.0
    is_required: bool = True


class Progress(Protocol):
    """Is told how far runs are; may be called very often."""

    def update(self, label: str, *, done: int, total: int, failed: int = 0, unmeasured: int = 0) -> None:
        """Report that `done` of `total` lines of the run `label` are finished."""

    def close(self) -> None:
        """Clear what is drawn, before other text is written."""


class Runs(Protocol):
    """Runs flows over data sets."""

    def run(self, requests: Sequence[RunRequest], progress: Progress) -> Sequence[RunRecord | LlmopsError]:
        """Bring every request to its end and return the records in the same order.

        A request that is not required, and each that evaluates it, may end in the error that kept it from running.

        Guarantees: a finished line is durable before it is reported; the same request finds the lines that are
        already there and runs only the others; an evaluation request starts when its target (in `requests` or run
        before) has ended. Lines that fail are in the record, never an exception.

        Raises:
            UsageError: a flow does not load.
            BackendError: the model or the backend is unusable before the first line.
        """

    def lines(self, run: RunRecord) -> Iterator[Line]:
        """Yield the lines of a run, ordered by row and repeat."""

    def find(self, run_id: str) -> RunRecord | None:
        """Return the record of a run, None when there is none."""

    def list_all(self) -> Sequence[RunRecord]:
        """Return all runs, newest first."""
