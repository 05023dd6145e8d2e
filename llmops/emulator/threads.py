"""Work on threads of its own that may be asked to end: runs and jobs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field


class CanceledError(Exception):
    """The work was asked to end."""


class Cancellation(threading.Event):
    """Set when the work is to end."""

    def wait_for(self, seconds: float | None) -> None:
        """Wait so long, or for ever.

        Raises:
            CanceledError: the work is to end.
        """
        self.wait(seconds)
        self.require_unset()

    def require_unset(self) -> None:
        """Go on.

        Raises:
            CanceledError: the work is to end.
        """
        if self.is_set():
            raise CanceledError


@dataclass
class Threads:
    """The work that this process does, by name."""

    _started: dict[str, Cancellation] = field(default_factory=dict)

    def start(self, name: str, work: Callable[[Cancellation], None]) -> None:
        """Do some work on a thread."""
        canceled = self._started[name] = Cancellation()
        threading.Thread(target=work, args=(canceled,), daemon=True).start()

    def cancel(self, name: str) -> None:
        """Ask some work to end."""
        self._started[name].set()

    def knows(self, name: str) -> bool:
        """Whether work of that name was started by this process."""
        return name in self._started

    def close(self) -> None:
        """Ask all work to end."""
        for canceled in self._started.values():
            canceled.set()
