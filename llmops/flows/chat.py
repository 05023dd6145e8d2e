"""Chat flows: which input the user types, which holds the turns so far, and how prompt flow writes them down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmops.flows.model import Flow

HISTORY = "chat_history"
"""Input that holds the turns so far where none is marked `is_chat_history`."""


@dataclass(frozen=True, kw_only=True)
class Chat:
    """The inputs of a chat flow.

    Attributes:
        question: what the user types.
        history: the turns so far.
        answer: output that answers; empty when all outputs together do.
        in_messages: whether turns are messages with `role` and `content`, as in flex flows and prompty, rather than
            mappings of inputs and outputs, as in DAG flows.
    """

    question: str
    history: str
    answer: str
    in_messages: bool

    def turn(self, question: Any, outputs: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Return what a turn adds to the history."""
        if not self.in_messages:
            return [{"inputs": {self.question: question}, "outputs": outputs}]
        said = outputs.get(self.answer or "output", outputs)
        return [{"role": "user", "content": question}, {"role": "assistant", "content": said}]


def find_chat(flow: Flow) -> Chat | None:
    """Say how to talk with a flow; None for one that holds no history.

    The question is the input that is marked `is_chat_input`; where none is, the first required one.
    """
    histories = [name for name, body in _bodies(flow, "inputs") if body.get("is_chat_history")]
    history = next(iter(histories), HISTORY if HISTORY in flow.inputs else "")
    others = [name for name in flow.inputs if name != history]
    if not history or not others:
        return None
    marked = [name for name, body in _bodies(flow, "inputs") if body.get("is_chat_input")]
    required = [name for name in others if flow.inputs[name].required]
    answers = [name for name, body in _bodies(flow, "outputs") if body.get("is_chat_output")]
    return Chat(
        question=(*marked, *required, *others)[0],
        history=history,
        answer=next(iter(answers), ""),
        in_messages=flow.kind != "dag",
    )


def _bodies(flow: Flow, key: str) -> Sequence[tuple[str, Mapping[str, Any]]]:
    listed = flow.data.get(key)
    entries = listed.items() if isinstance(listed, Mapping) else ()
    return [(str(name), body) for name, body in entries if isinstance(body, Mapping)]
