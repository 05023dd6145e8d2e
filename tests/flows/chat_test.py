from __future__ import annotations

from typing import Any

from llmops.flows.chat import find_chat
from llmops.flows.model import Flow, FlowInput, FlowKind


def flow(kind: FlowKind, inputs: dict[str, Any], outputs: dict[str, Any] | None = None) -> Flow:
    known = {name: FlowInput(type="", required="default" not in (body or {})) for name, body in inputs.items()}
    data = {"inputs": inputs, "outputs": outputs or {}}
    return Flow(path="flows/chat", folder="flows/chat", kind=kind, definition="f", data=data, inputs=known)


def test_a_flow_without_history_is_no_chat() -> None:
    assert find_chat(flow("dag", {"question": {}})) is None


def test_marks_say_what_is_typed_and_what_answers() -> None:
    inputs = {"tone": {}, "turns": {"is_chat_history": True}, "text": {"is_chat_input": True}}
    chat = find_chat(flow("dag", inputs, {"score": {}, "reply": {"is_chat_output": True}}))
    assert chat is not None
    assert (chat.question, chat.history, chat.answer) == ("text", "turns", "reply")


def test_without_marks_the_first_required_input_is_typed() -> None:
    chat = find_chat(flow("flex", {"tone": {"default": "mild"}, "chat_history": {}, "question": {}}))
    assert chat is not None
    assert (chat.question, chat.history) == ("question", "chat_history")


def test_a_dag_flow_keeps_inputs_and_outputs() -> None:
    chat = find_chat(flow("dag", {"question": {}, "chat_history": {}}))
    assert chat is not None
    assert chat.turn("hi", {"answer": "ho"}) == [{"inputs": {"question": "hi"}, "outputs": {"answer": "ho"}}]


def test_other_flows_keep_messages() -> None:
    chat = find_chat(flow("prompty", {"question": {}, "chat_history": {}}))
    assert chat is not None
    assert chat.turn("hi", {"output": "ho"}) == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "ho"},
    ]
