"""What a flow's nodes print, taken from where promptflow keeps it and written to the worker's log."""

from __future__ import annotations

import os
from typing import Any

from promptflow.storage import AbstractRunStorage

_LOG = 2
"""File descriptor of the log; promptflow puts its own object in the place of `sys.stderr`."""


class NodeLog(AbstractRunStorage):  # type: ignore[misc]  # promptflow has no types
    """Is told of each node that ended, failed ones included.

    Args:
        trace: whether what the nodes did is gathered, until `take` is called.
    """

    def __init__(self, *, trace: bool = False) -> None:
        self._trace = trace
        self._nodes: list[dict[str, Any]] = []

    def take(self) -> list[dict[str, Any]]:
        """Return what the nodes did since the last call, in the order in which they ended."""
        nodes, self._nodes = self._nodes, []
        return nodes

    def persist_node_run(self, run_info: Any) -> None:
        """Write what the node printed, each line with the name of its node."""
        if self._trace:
            self._nodes.append(_describe(run_info))
        for text in (run_info.logs or {}).values():
            lines = "".join(f"{run_info.node}: {line}\n" for line in text.splitlines())
            if lines:
                os.write(_LOG, lines.encode("utf-8", "backslashreplace"))

    def persist_flow_run(self, run_info: Any) -> None:
        """Keep nothing: the driver stores the lines."""


def _describe(run_info: Any) -> dict[str, Any]:
    duration = (run_info.end_time - run_info.start_time).total_seconds() if run_info.end_time else 0.0
    return {
        "node": run_info.node,
        "status": run_info.status.value,
        "inputs": run_info.inputs,
        "output": run_info.output,
        "error": (run_info.error or {}).get("message"),
        "logs": "".join(filter(None, (run_info.logs or {}).values())),
        "duration_s": round(duration, 6),
    }
