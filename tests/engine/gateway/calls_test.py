"""What a call is called, and what its answer used."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmops.core.prices import Price, cost_usd, find_price
from llmops.engine.gateway.calls import (
    ModelCall,
    Usage,
    cache_key,
    describe_prompt,
    find_line,
    read_call,
    read_usage,
    split_events,
)

BODY = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "temperature": 0}


def call(body: Any = BODY, path: str = "/chat/completions", headers: dict[str, str] | None = None) -> ModelCall:
    return read_call("POST", path, headers or {}, json.dumps(body).encode())


def key(made: ModelCall, occurrence: int = 0, identity: str = "open_ai") -> str:
    return cache_key(made, occurrence, identity)


def test_the_order_of_keys_and_the_api_version_do_not_matter() -> None:
    turned = dict(reversed(BODY.items()))
    assert key(call(turned)) == key(call())
    assert key(call(path="/chat/completions?api-version=2024-10-21")) == key(call())


@pytest.mark.parametrize(
    "other",
    [
        key(call({**BODY, "temperature": 1})),
        key(call({**BODY, "messages": [{"role": "user", "content": "hello"}]})),
        key(call(path="/completions")),
        key(call(path="/chat/completions?other=1")),
        key(call(headers={"x-llmops-line": "1-aa-0"})),
        key(call(headers={"openai-project": "p"})),
        key(call(), occurrence=1),
        key(call(), identity="azure_open_ai"),
    ],
)
def test_everything_that_may_change_an_answer_changes_its_key(other: str) -> None:
    assert other != key(call())


def test_two_lines_of_one_repeat_share_answers() -> None:
    assert key(call(headers={"x-llmops-line": "2-aa-0"})) == key(call(headers={"x-llmops-line": "2-bb-9"}))


@pytest.mark.parametrize(
    ("headers", "line"),
    [
        ({"ms-azure-ai-promptflow": '{"root_run_id": "0-aa-3"}'}, "0-aa-3"),
        ({"ms-azure-ai-promptflow": "not json"}, ""),
        ({"ms-azure-ai-promptflow": "[]"}, ""),
        ({"x-llmops-line": "0-aa-4"}, "0-aa-4"),
        ({"baggage": "k=v, x-llmops-line=0-aa-5;prop"}, "0-aa-5"),
        ({"baggage": "k=v"}, ""),
        ({}, ""),
    ],
)
def test_a_line_is_found_where_flows_put_it(headers: dict[str, str], line: str) -> None:
    assert find_line(headers) == line


@pytest.mark.parametrize(
    ("document", "usage"),
    [
        ({"usage": {"prompt_tokens": 3, "completion_tokens": 4}}, Usage(3, 4)),
        ({"usage": {"prompt_tokens": 3, "total_tokens": 3}}, Usage(3, 0)),
        ({"usage": {"input_tokens": 3, "output_tokens": 4}}, Usage(3, 4)),
        ({"type": "response.completed", "response": {"usage": {"input_tokens": 1, "output_tokens": 2}}}, Usage(1, 2)),
        ({"usage": None}, None),
        ({"usage": {"prompt_tokens": "3"}}, None),
        ({"usage": {"prompt_tokens": -3}}, None),
        ({"usage": {"prompt_tokens": True}}, None),
        ([], None),
    ],
)
def test_usage_is_read_as_the_apis_give_it(document: Any, usage: Usage | None) -> None:
    assert read_usage(document) == usage


def test_events_are_split_with_their_ends() -> None:
    body = b"data: 1\n\ndata: 2\r\n\r\ndata: [DONE]"
    assert split_events(body) == [b"data: 1\n\n", b"data: 2\r\n\r\n", b"data: [DONE]"]


def test_azures_deployment_stands_for_the_model() -> None:
    assert call(path="/openai/deployments/my-gpt/chat/completions").model == "my-gpt"


def test_a_prompt_is_shown_by_its_end_and_cut() -> None:
    made = call({**BODY, "messages": [{"role": "user", "content": "x " * 500 + "the end"}]})
    shown = describe_prompt(made)
    assert shown.endswith("the end'")
    assert len(shown) < 250


def test_a_body_that_is_no_json_is_not_kept() -> None:
    assert not read_call("POST", "/chat/completions", {}, b"{").is_kept
    assert not call(path="/files").is_kept
    assert not call({**BODY, "background": True}, path="/responses").is_kept


PRICES = {
    "gpt-4o": Price(prompt=2.5, completion=10, as_of="2026-05-01"),
    "gpt-4o-mini": Price(prompt=0.15, completion=0.6, as_of="2026-05-01"),
}


@pytest.mark.parametrize(
    ("asked", "answered", "found"),
    [
        ("gpt-4o-mini", "", "gpt-4o-mini"),
        ("my-deployment", "gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("gpt-4o-2024-11-20", "", "gpt-4o"),
        ("gpt-4o-audio", "gpt-4o-audio", None),
        ("other", "other", None),
    ],
)
def test_a_price_is_found_by_name_and_by_dated_name_and_never_by_mere_likeness(
    asked: str, answered: str, found: str | None
) -> None:
    assert find_price(PRICES, asked, answered) == (PRICES[found] if found else None)


def test_a_cost_is_per_million_tokens() -> None:
    assert cost_usd(PRICES["gpt-4o"], 1_000_000, 100_000) == pytest.approx(3.5)
