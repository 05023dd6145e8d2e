"""`python -m llmops.engine.gateway LISTENER LEDGER`: serve the gateway until standard input ends."""

from __future__ import annotations

import socket
import sys

from llmops.engine.gateway.server import serve
from llmops.errors import LlmopsError


def main() -> int:
    """Serve on the two descriptors that the driver passed on."""
    listener, ledger = map(int, sys.argv[1:3])
    try:
        serve(socket.socket(fileno=listener), ledger)
    except LlmopsError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
