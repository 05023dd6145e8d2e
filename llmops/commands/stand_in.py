"""`llmops stand-in`: run the stand-in model in the foreground."""

from __future__ import annotations

from llmops.errors import ExitCode


def stand_in(*, port: int = 0, latency_ms: float = 0, calls_per_second: float | None = None) -> int:
    """Serve the stand-in model on 127.0.0.1 until Ctrl-C; one line of JSON on standard output names the port.

    Args:
        port: 0 picks a free one.
        latency_ms: added to every answer.
        calls_per_second: calls beyond it get 429 with `Retry-After`; None for no limit.

    Raises:
        UsageError: the port cannot be used.
    """
    from llmops.engine.standin.server import serve

    serve(port=port, latency_ms=latency_ms, calls_per_second=calls_per_second)
    return ExitCode.PASS
