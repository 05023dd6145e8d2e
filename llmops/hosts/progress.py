"""Show how far runs are: a bar in a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TextIO

BAR_INTERVAL_S = 0.1
LINE_INTERVAL_S = 5.0
_BAR_WIDTH = 20


@dataclass(frozen=True, kw_only=True)
class _State:
    done: int
    total: int
    failed: int
    unmeasured: int


class ProgressDisplay:
    """Draws the progress of several runs at once; see `backends.protocols.Progress`.

    Args:
        stream: usually standard error.
        is_terminal: whether a line can be drawn over.
        width: columns.
    """

    def __init__(self, stream: TextIO, *, is_terminal: bool, width: int = 100) -> None:
        self._stream = stream
        self._is_terminal = is_terminal
        self._width = width
        self._states: dict[str, _State] = {}
        self._started = self._shown_at = time.monotonic()
        self._has_bar = False

    def update(self, label: str, *, done: int, total: int, failed: int = 0, unmeasured: int = 0) -> None:
        """Take note, and draw when it is time."""
        self._states[label] = _State(done=done, total=total, failed=failed, unmeasured=unmeasured)
        interval = BAR_INTERVAL_S if self._is_terminal else LINE_INTERVAL_S
        if time.monotonic() - self._shown_at >= interval:
            self._draw()

    def close(self) -> None:
        """Remove the bar, so that what follows starts on a clean line; forget the runs."""
        if self._has_bar:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
        self._has_bar = False
        self._states.clear()

    def _draw(self) -> None:
        self._shown_at = time.monotonic()
        text = "  ".join(self._describe(label, state) for label, state in self._states.items())
        elapsed = f"{self._shown_at - self._started:.0f} s"
        if self._is_terminal:
            self._stream.write(f"\r\x1b[K{text[: self._width - len(elapsed) - 3]}  {elapsed}")
            self._has_bar = True
        else:
            self._stream.write(f"{text} after {elapsed}\n")
        self._stream.flush()

    def _describe(self, label: str, state: _State) -> str:
        parts = [f"{label} {self._bar(state)}{state.done}/{state.total}"]
        parts += [f"{state.failed} failed"] if state.failed else []
        parts += [f"{state.unmeasured} unmeasured"] if state.unmeasured else []
        return ", ".join(parts)

    def _bar(self, state: _State) -> str:
        if not self._is_terminal:
            return ""
        filled = _BAR_WIDTH * state.done // max(state.total, 1)
        return f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] "
