"""What a flow's nodes print, taken from where promptflow keeps it and written to the worker's log."""

from __future__ import annotations

import os
from typing import Any

from promptflow.storage import AbstractRunStorage

_LOG = 2
"""File descriptor of the log; promptflow puts its own object in the place of `sys.stderr`."""


class NodeLog(AbstractRunStorage):  # type: ignore[misc]  # promptflow has no types
    """Is told of each node that ended, failed ones included."""

    def persist_node_run(self, run_info: Any) -> None:
        """Write what the node printed, each line with the name of its node."""
        for text in (run_info.logs or {}).values():
            lines = "".join(f"{run_info.node}: {line}\n" for line in text.splitlines())
            if lines:
                os.write(_LOG, lines.encode("utf-8", "backslashreplace"))

    def persist_flow_run(self, run_info: Any) -> None:
        """Keep nothing: the driver stores the lines."""
