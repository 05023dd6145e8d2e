"""Keep the pipe to the driver out of a flow's reach."""

from __future__ import annotations

import io
import os
import sys


def take_streams() -> tuple[int, int]:
    """Return private copies of standard input and output; the flow gets an empty input and the log as output."""
    source, sink = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(line_buffering=True)  # this process may be ended at any moment
    return source, sink
