"""`python -m llmops.engine.standin`: serve the stand-in model until stopped."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from llmops.engine.standin.server import serve
from llmops.errors import LlmopsError


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted, or until standard input ends with `--exit-with-stdin`."""
    parser = argparse.ArgumentParser(prog="python -m llmops.engine.standin", description="The stand-in model.")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 picks a free one")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="added to every answer")
    parser.add_argument("--calls-per-second", type=float, help="refuse more than this with 429")
    parser.add_argument("--exit-with-stdin", action="store_true", help="end when standard input ends")
    options = parser.parse_args(argv)
    try:
        serve(
            port=options.port,
            latency_ms=options.latency_ms,
            calls_per_second=options.calls_per_second,
            exit_with_stdin=options.exit_with_stdin,
        )
    except LlmopsError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
