"""Long-running operations: work that goes on after the answer, and how clients ask for its end."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from llmops.emulator.errors import RefusalError, not_found
from llmops.emulator.faults import Fault
from llmops.errors import LlmopsError

Status = Literal["InProgress", "Succeeded", "Failed", "Canceled"]


@dataclass(eq=False)
class Operation:
    """One operation; `error` is set when it has failed."""

    id: str
    status: Status = "InProgress"
    error: RefusalError | None = None
    canceled: threading.Event = field(default_factory=threading.Event)

    def body(self) -> dict[str, Any]:
        """Build the answer to a poll."""
        body: dict[str, Any] = {"id": self.id, "status": self.status}
        if self.error is not None:
            body["error"] = {"code": self.error.code, "message": self.error.message}
        return body


class Operations:
    """The operations of this process."""

    def __init__(self) -> None:
        self._operations: dict[str, Operation] = {}

    def find(self, operation_id: str) -> Operation:
        """Return an operation.

        Raises:
            RefusalError: 404, there is none.
        """
        try:
            return self._operations[operation_id]
        except KeyError:
            raise not_found(f"operation '{operation_id}'") from None

    def start(
        self,
        *,
        least_s: float,
        work: Callable[[], None],
        end: Callable[[RefusalError | None], None],
        fault: Fault | None,
    ) -> Operation:
        """Start an operation.

        Args:
            least_s: its shortest time.
            work: does it; refuses if it fails.
            end: brings the resource into its last state before the operation shows its own.
            fault: makes it fail without work, or never end.
        """
        operation = Operation(id=str(uuid.uuid4()))
        self._operations[operation.id] = operation
        thread = threading.Thread(target=self._run, args=[operation, least_s, work, end, fault], daemon=True)
        thread.start()
        return operation

    def cancel_all(self) -> None:
        """Cancel the operations that go on; their resources stay as they are."""
        for operation in list(self._operations.values()):
            if operation.status == "InProgress":
                operation.status = "Canceled"
                operation.canceled.set()

    def _run(
        self,
        operation: Operation,
        least_s: float,
        work: Callable[[], None],
        end: Callable[[RefusalError | None], None],
        fault: Fault | None,
    ) -> None:
        started = time.monotonic()
        if fault is not None and fault.effect == "stick_operation":
            return
        error = _failure(fault) if fault is not None else _attempt(work)
        if operation.canceled.wait(max(0.0, least_s - (time.monotonic() - started))):
            return
        end(error)
        operation.error = error
        operation.status = "Succeeded" if error is None else "Failed"


def _failure(fault: Fault) -> RefusalError:
    message = fault.message or "The container did not become ready. See the logs of the deployment."
    return RefusalError(200, fault.code or "ResourceNotReady", message)


def _attempt(work: Callable[[], None]) -> RefusalError | None:
    try:
        work()
    except RefusalError as refusal:
        return refusal
    except (LlmopsError, OSError) as error:
        return RefusalError(500, "InternalServerError", f"{type(error).__name__}: {error}")
    return None
