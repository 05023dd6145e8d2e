"""From the lines that Azure describes to ours: whose doing a failure was is read from its error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llmops.backends.planned_lines import PlannedLine
from llmops.engine.worker.failures import MESSAGE_LIMIT, blames_the_model
from llmops.records import Line, LineError, LineStatus

_TOKENS = {"prompt": "prompt_tokens", "completion": "completion_tokens", "total": "total_tokens"}
_NODE = "Tool/"


def to_line(child: Mapping[str, Any], planned: PlannedLine) -> Line:
    """Build the line of a plan from what became of it.

    Args:
        child: as the service describes it: `status`, `output`, `error`, `system_metrics`.
        planned: says which line it is.
    """
    measured: Mapping[str, Any] = child.get("system_metrics") or {}
    tokens = {name: int(measured[key]) for name, key in _TOKENS.items() if measured.get(key)}
    outputs = child.get("output")
    is_complete = child.get("status") == "Completed" and isinstance(outputs, Mapping)
    error = None if is_complete else _error(child)
    return Line(
        row=planned.row,
        repeat=planned.repeat,
        status="completed" if is_complete else _blame(child),
        inputs=planned.inputs,
        outputs=_without_number(outputs) if isinstance(outputs, Mapping) and is_complete else None,
        error=error,
        duration_s=float(measured.get("duration") or 0.0),
        tokens=tokens,
    )


def given_inputs(child: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the flow received, for a run that nobody here planned."""
    return _without_number(child.get("inputs") or {})


def _without_number(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "line_number"}


def _blame(child: Mapping[str, Any]) -> LineStatus:
    """Say `failed` where the flow itself is to blame, `unmeasured` where nobody knows what it would have answered."""
    error = child.get("error")
    if child.get("status") != "Failed" or not isinstance(error, Mapping):
        return "unmeasured"
    names = list(_names(error))
    if names[0] == "SystemError" or any(map(blames_the_model, names)):
        return "unmeasured"
    return "failed"


def _error(child: Mapping[str, Any]) -> LineError:
    error = child.get("error")
    if not isinstance(error, Mapping):
        return LineError(type="NoAnswer", message=f"the line ended as {child.get('status')} and says no more")
    details = [entry["info"] for entry in error.get("additionalInfo") or [] if isinstance(entry.get("info"), Mapping)]
    info: Mapping[str, Any] = details[0] if details else {}
    reference = str(error.get("referenceCode") or "")
    message = str(info.get("message") or error.get("message") or "")[:MESSAGE_LIMIT]
    return LineError(
        type=list(_names(error))[-1],
        message=message,
        node=str(info.get("node_name") or "") or reference.removeprefix(_NODE) or None,
    )


def _names(error: Mapping[str, Any]) -> Iterator[str]:
    """Yield the codes of an error from the outermost to the innermost, then the classes that it was raised as."""
    link: Any = error
    while isinstance(link, Mapping):
        yield str(link.get("code") or "")
        link = link.get("innerError")
    for entry in error.get("additionalInfo") or []:
        info = entry.get("info") if isinstance(entry, Mapping) else None
        if isinstance(info, Mapping) and info.get("type"):
            yield str(info["type"])
