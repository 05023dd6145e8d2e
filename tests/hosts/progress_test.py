from __future__ import annotations

import io
import time

from llmops.hosts.progress import LINE_INTERVAL_S, ProgressDisplay


def late(display: ProgressDisplay) -> ProgressDisplay:
    """Pretend that the display was drawn long ago."""
    display._shown_at = time.monotonic() - LINE_INTERVAL_S - 1
    return display


def test_without_a_terminal_a_plain_line_appears_every_few_seconds() -> None:
    stream = io.StringIO()
    display = ProgressDisplay(stream, is_terminal=False)
    display.update("candidate", done=1, total=10)
    assert stream.getvalue() == ""
    late(display).update("candidate", done=5, total=10, failed=1, unmeasured=2)
    assert stream.getvalue() == "candidate 5/10, 1 failed, 2 unmeasured after 0 s\n"


def test_in_a_terminal_a_bar_is_drawn_over_and_removed_at_the_end() -> None:
    stream = io.StringIO()
    display = ProgressDisplay(stream, is_terminal=True, width=60)
    late(display).update("candidate", done=5, total=10)
    assert stream.getvalue() == "\r\x1b[Kcandidate [##########..........] 5/10  0 s"
    display.close()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_a_bar_is_never_wider_than_the_terminal() -> None:
    stream = io.StringIO()
    display = ProgressDisplay(stream, is_terminal=True, width=40)
    for name in ("candidate", "baseline", "quality"):
        late(display).update(name, done=5, total=10)
    assert max(len(text) for text in stream.getvalue().split("\r\x1b[K")) <= 40
