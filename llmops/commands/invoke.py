"""`llmops invoke`: send one request to an experiment's endpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from llmops.backends.protocols import Answer
from llmops.commands.context import Context
from llmops.commands.targets import Tools, enter_delivery, find_target
from llmops.core.documents import to_json
from llmops.errors import BackendError, DeadlineError, ExitCode, UsageError

_ERROR = 400
_TIMED_OUT = (408, 504)


def invoke(
    *,
    context: Context,
    tools: Tools,
    experiment: str,
    environment: str | None,
    inputs: Sequence[str],
    file: Path | None,
    deployment: str | None,
    timeout_s: float,
    json_output: bool,
) -> int:
    """Send one request and print the outputs.

    Args:
        inputs: `name=value` each; a value that is JSON counts as such, anything else as text. They win over the file.
        file: JSON object with the inputs.
        deployment: asks this one, past the traffic split.
        json_output: write status, deployment and request id too.

    Raises:
        UsageError: the inputs cannot be read.
        BackendError: no answer, or one of 400 and above.
        DeadlineError: it took too long.
    """
    body = {**_read_file(file), **_read_inputs(inputs)}
    target = find_target(context, experiment, environment)
    with ExitStack() as stack:
        delivery = enter_delivery(stack, context, tools, target)
        answer = delivery.endpoints.score(target.endpoint, body, deployment=deployment, timeout_s=timeout_s)
    if json_output:
        context.write(json.dumps(to_json(answer), indent=2, ensure_ascii=False))
    _require_success(answer, target.endpoint)
    if not json_output:
        context.write(answer.text if answer.outputs is None else _pretty(answer.outputs))
    return ExitCode.PASS


def _require_success(answer: Answer, endpoint: str) -> None:
    if 0 < answer.status < _ERROR:
        return
    said = answer.text or json.dumps(to_json(answer.outputs), ensure_ascii=False)
    kind = DeadlineError if answer.status in _TIMED_OUT else BackendError
    raise kind.of(
        f"HTTP {answer.status}" if answer.status else "no answer",
        where=f"endpoint '{endpoint}'" + (f", deployment '{answer.deployment}'" if answer.deployment else ""),
        found=said,
        fix=f"The request's id is {answer.request_id}; `llmops status` says how the endpoint is.",
    )


def _read_file(file: Path | None) -> Mapping[str, Any]:
    if file is None:
        return {}
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError.of("the inputs cannot be read", where=str(file), found=str(error)) from error
    if not isinstance(value, dict):
        raise UsageError.of("no inputs", where=str(file), expected="a JSON object: input to value")
    return value


def _read_inputs(inputs: Sequence[str]) -> Mapping[str, Any]:
    body = {}
    for text in inputs:
        name, separator, value = text.partition("=")
        if not (name and separator):
            raise UsageError.of("not an input", where="--input", found=f"'{text}'", expected="NAME=VALUE")
        body[name] = _value(value)
    return body


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _pretty(outputs: Mapping[str, Any]) -> str:
    return json.dumps(to_json(outputs), indent=2, ensure_ascii=False)
