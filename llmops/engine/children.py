"""Child processes that end by themselves when their standard input is closed."""

from __future__ import annotations

import contextlib
import subprocess


def end_child(child: subprocess.Popen[bytes], patience_s: float) -> None:
    """Close a child's standard input and wait for its end; ending it twice is fine.

    Args:
        child: started with a pipe as its standard input.
        patience_s: after which it is killed.
    """
    if child.stdin is not None:
        with contextlib.suppress(OSError):
            child.stdin.close()
    try:
        child.wait(patience_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
