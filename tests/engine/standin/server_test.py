"""The server speaks OpenAI's protocol: the real openai client against the real process."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import openai
import pytest
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionMessageParam

import llmops
from llmops.engine.standin import StandInProcess

QUESTION = "The tower is 30 m high. How high is the tower?"
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": QUESTION}]
ANSWER = "According to the text: The tower is 30 m high."


@pytest.fixture(scope="module")
def shared_process() -> Iterator[StandInProcess]:
    with StandInProcess() as process:
        yield process


@pytest.fixture
def process(shared_process: StandInProcess) -> StandInProcess:
    shared_process.reset_stats()
    return shared_process


@pytest.fixture
def client(process: StandInProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="any", base_url=process.base_url, max_retries=0) as client:
        yield client


def test_answers_the_openai_client_with_usage_and_says_what_it_is(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=HELLO)
    reply = raw.parse()
    assert raw.headers["x-llmops-stand-in"] == "true"
    assert (reply.model, reply.system_fingerprint) == ("stand-in/gpt-4o-mini", f"stand-in-{llmops.__version__}")
    assert reply.choices[0].message.content == ANSWER
    assert reply.usage == CompletionUsage(prompt_tokens=16, completion_tokens=12, total_tokens=28)


def test_equal_requests_get_equal_answers(client: openai.OpenAI) -> None:
    one, other = (client.chat.completions.create(model="m", messages=HELLO) for _ in range(2))
    assert one == other


def test_streams_the_same_answer_in_pieces_with_usage_at_the_end(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(model="m", messages=HELLO, stream=True, stream_options={"include_usage": True})
    )
    pieces = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(pieces) == ANSWER
    assert len(pieces) > 5
    assert chunks[-1].usage == CompletionUsage(prompt_tokens=16, completion_tokens=12, total_tokens=28)
    assert chunks[-2].choices[0].finish_reason == "stop"


def test_answers_the_azure_client(process: StandInProcess) -> None:
    with openai.AzureOpenAI(api_key="any", azure_endpoint=process.azure_endpoint, api_version="2024-10-21") as client:
        reply = client.chat.completions.create(model="my-deployment", messages=HELLO)
    assert reply.model == "stand-in/my-deployment"
    assert process.stats().by_path == {"/openai/deployments/my-deployment/chat/completions": 1}


def test_answers_plain_completions(client: openai.OpenAI) -> None:
    reply = client.completions.create(model="m", prompt=QUESTION)
    pieces = client.completions.create(model="m", prompt=QUESTION, stream=True)
    assert reply.choices[0].text == ANSWER == "".join(chunk.choices[0].text for chunk in pieces)


def test_cuts_at_the_token_limit_and_at_a_stop_string(client: openai.OpenAI) -> None:
    cut = client.chat.completions.create(model="m", messages=HELLO, max_tokens=3).choices[0]
    stopped = client.chat.completions.create(model="m", messages=HELLO, stop=["the"]).choices[0]
    assert (cut.message.content, cut.finish_reason) == ("According to", "length")
    assert (stopped.message.content, stopped.finish_reason) == ("According to ", "stop")


def test_gives_as_many_answers_as_asked_for(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="m", messages=HELLO, n=3)
    assert [choice.index for choice in reply.choices] == [0, 1, 2]


def test_embeddings_of_like_texts_are_near(client: openai.OpenAI) -> None:
    texts = ["a ferry on the river", "ferries on rivers", "stock market news"]
    one, like, unlike = (item.embedding for item in client.embeddings.create(model="e", input=texts).data)
    assert sum(a * b for a, b in zip(one, like, strict=True)) > sum(a * b for a, b in zip(one, unlike, strict=True))


@pytest.mark.parametrize(("encoding", "kind"), [("float", list), ("base64", str)])
def test_embeddings_come_in_the_encoding_that_was_asked_for(
    client: openai.OpenAI, encoding: Literal["float", "base64"], kind: type
) -> None:
    reply = client.embeddings.create(model="e", input="a ferry", encoding_format=encoding)
    assert isinstance(reply.data[0].embedding, kind)
    assert reply.usage.total_tokens == 2


def test_lists_a_model_that_is_labelled(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["stand-in/any"]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer "}, {"api-key": " "}])
def test_a_request_without_a_key_is_unauthorised(process: StandInProcess, headers: dict[str, str]) -> None:
    status, body = post(process, "/v1/chat/completions", b'{"model": "m", "messages": []}', headers)
    assert status == 401
    assert body["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("path", "payload", "status", "param"),
    [
        ("/v1/chat/completions", b"{", 400, None),
        ("/v1/chat/completions", b"[]", 400, None),
        ("/v1/chat/completions", b'{"messages": []}', 400, "model"),
        ("/v1/chat/completions", b'{"model": "m"}', 400, "messages"),
        ("/v1/chat/completions", b'{"model": "m", "messages": [{"role": "boss"}]}', 400, "messages[0].role"),
        ("/v1/chat/completions", b'{"model": "m", "messages": [{"role": "user"}], "n": 0}', 400, "n"),
        ("/v1/chat/completions", b'{"model": "m", "messages": [{"role": "user"}], "tools": [{}]}', 400, "tools"),
        ("/v1/completions", b'{"model": "m", "prompt": 5}', 400, "prompt"),
        ("/v1/embeddings", b'{"model": "m", "input": []}', 400, "input"),
        ("/v1/images", b"{}", 404, None),
    ],
)
def test_a_malformed_request_gets_an_openai_shaped_error(
    process: StandInProcess, path: str, payload: bytes, status: int, param: str | None
) -> None:
    found, body = post(process, path, payload, {"Authorization": "Bearer any"})
    assert found == status
    assert body["error"]["type"] == "invalid_request_error"
    assert body["error"]["param"] == param
    assert process.stats().calls == 0


def test_a_path_that_only_takes_posts_says_so(process: StandInProcess) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", process.port, timeout=60)) as connection:
        connection.request("GET", "/v1/chat/completions", headers={"api-key": "any"})
        assert connection.getresponse().status == 405


def test_counts_every_call_and_how_many_overlap() -> None:
    with StandInProcess(latency_ms=500) as slow, openai.OpenAI(api_key="any", base_url=slow.base_url) as client:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: client.chat.completions.create(model="m", messages=HELLO), range(8)))
        stats = slow.stats()
        slow.reset_stats()
        assert (stats.calls, stats.prompt_tokens, stats.completion_tokens) == (8, 8 * 16, 8 * 12)
        assert stats.in_flight_max > 1
        assert slow.stats().calls == 0


def post(
    process: StandInProcess, path: str, payload: bytes, headers: dict[str, str]
) -> tuple[int, dict[str, dict[str, object]]]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", process.port, timeout=60)) as connection:
        connection.request("POST", path, payload, headers)
        response = connection.getresponse()
        assert response.headers["x-llmops-stand-in"] == "true"
        return response.status, json.load(response)
