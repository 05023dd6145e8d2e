"""How clients ask for the end of an operation."""

from __future__ import annotations

from llmops.emulator.cloud import Call
from llmops.emulator.wire import Response, json_response


def status(call: Call) -> Response:
    """Answer a poll of `Azure-AsyncOperation`: always 200, the state is in the body."""
    operation = call.cloud.operations.find(call.names["operation"])
    is_over = operation.status != "InProgress"
    return json_response(operation.body(), headers={} if is_over else call.hints())


def result(call: Call) -> Response:
    """Answer a poll of `Location`: 202 while the work goes on, then 204; a failure is its error."""
    operation = call.cloud.operations.find(call.names["operation"])
    if operation.status == "InProgress":
        return json_response(operation.body(), 202, {"Location": f"{call.base}{call.request.target}", **call.hints()})
    if operation.error is not None:
        return json_response(operation.body(), 200)
    return Response(status=204)
