"""Whose doing a failed line is, read from the errors that Azure describes."""

from __future__ import annotations

from typing import Any

import pytest

from llmops.backends.azure.child_runs import given_inputs, to_line
from llmops.backends.planned_lines import PlannedLine

PLANNED = PlannedLine(row=3, repeat=1, inputs={"text": "hello"})


def failed(code: str, *inner: str, info: str = "") -> dict[str, Any]:
    """Describe a line that failed, by the codes from the outermost to the innermost."""
    error: dict[str, Any] = {"code": code, "message": "it broke", "referenceCode": "Tool/ask", "innerError": None}
    link = error
    for name in inner:
        link["innerError"] = {"code": name, "innerError": None}
        link = link["innerError"]
    if info:
        error["additionalInfo"] = [{"type": "ToolExecutionErrorDetails", "info": {"type": info, "message": "why"}}]
    return {"index": 0, "status": "Failed", "inputs": {}, "output": None, "error": error}


@pytest.mark.parametrize(
    ("child", "status"),
    [
        (failed("UserError", "ToolExecutionError"), "failed"),
        (failed("UserError", "ToolExecutionError", info="ValueError"), "failed"),
        (failed("UserError", "OpenAIError", "RateLimitError"), "unmeasured"),
        (failed("UserError", "ToolExecutionError", info="APIConnectionError"), "unmeasured"),
        (failed("SystemError", "ProcessCrashError"), "unmeasured"),
        ({"index": 0, "status": "Canceled", "output": None, "error": None}, "unmeasured"),
        ({"index": 0, "status": "Completed", "output": None, "error": None}, "unmeasured"),
    ],
)
def test_only_what_the_flow_itself_did_counts_against_it(child: dict[str, Any], status: str) -> None:
    assert to_line(child, PLANNED).status == status


def test_a_failed_line_names_what_the_user_met() -> None:
    error = to_line(failed("UserError", "ToolExecutionError", info="ValueError"), PLANNED).error
    assert error is not None
    assert (error.type, error.message, error.node) == ("ValueError", "why", "ask")


def test_a_completed_line_has_its_place_in_the_plan_and_its_tokens() -> None:
    measured = {"duration": 1.5, "prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    child = {"status": "Completed", "output": {"loud": "HELLO", "line_number": 0}, "system_metrics": measured}
    line = to_line(child, PLANNED)
    assert (line.row, line.repeat, line.inputs, line.outputs) == (3, 1, {"text": "hello"}, {"loud": "HELLO"})
    assert (line.duration_s, line.tokens) == (1.5, {"prompt": 7, "completion": 2, "total": 9})


def test_the_number_that_the_service_adds_is_no_input() -> None:
    assert given_inputs({"inputs": {"text": "hello", "line_number": 4}}) == {"text": "hello"}
