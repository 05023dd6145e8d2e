"""What a check's flow has other than its baseline's, as reports and annotations show it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

from llmops.backends.protocols import FlowSource
from llmops.flows.changes import Change, FlowState, compare
from llmops.flows.tree import show
from llmops.records import FlowChange

MOST_CHANGES = 50
LONGEST_DIFF = 20_000
_HUNK = re.compile(r"@@ -\S+ \+(\d+)")


def find_changes(baseline: FlowSource | None, candidate: FlowSource) -> Sequence[FlowChange]:
    """Compare two flows; prompts come first, then the order in which a reader of the flow meets the changes."""
    if baseline is None or baseline.ref.digest == candidate.ref.digest:
        return ()
    new = _state(candidate)
    found = compare(_state(baseline), new)
    ordered = sorted(found, key=lambda change: change.aspect != "prompt")
    return [_describe(change, new) for change in ordered[:MOST_CHANGES]]


def _state(source: FlowSource) -> FlowState:
    return FlowState(tree=source.tree, flow=source.closure.flow, closure=source.closure)


def _describe(change: Change, new: FlowState) -> FlowChange:
    source = new.closure.files.get(posixpath.normpath(change.name)) if change.diff else None
    return FlowChange(
        text=str(change),
        diff=change.diff[:LONGEST_DIFF].strip("\n"),
        is_prompt=change.aspect == "prompt",
        file=show(new.tree, source.path) if source else "",
        line=_first_line(change.diff) if source and new.flow.kind == "dag" else 1,
    )


def _first_line(diff: str) -> int:
    """Find the first line of the new text that was added, or that follows what was removed."""
    line = 1
    for text in diff.splitlines():
        hunk = _HUNK.match(text)
        if hunk:
            line = int(hunk[1])
        elif text.startswith(("+", "-")):
            break
        else:
            line += 1
    return max(line, 1)
