from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmops.backends.local.serving.serving_process import FlowRefusedError, ServingProcess, ServingSpec
from llmops.backends.local.serving.upstream import Upstream
from llmops.engine.fork_server import ForkServers
from llmops.engine.standin.process import StandInProcess
from tests.backends.packages import echo_flow

MODULE = """\
import sys

print("imported", "s3cr3t", file=sys.stderr)

def plain(name: str, times: int = 1):
    return name * times

async def later(name: str):
    return {"greeting": "hello " + name, "prompt_flow": "promptflow" in sys.modules}

def broken(name):
    raise ValueError("no " + name)
"""


def spec(folder: Path, entry: str) -> ServingSpec:
    (folder / "greet.py").write_text(MODULE)
    return ServingSpec(
        kind="callable",
        folder=folder,
        flow_file="greet.py",
        entry=entry,
        paths=[folder],
        python=sys.executable,
        secrets=["s3cr3t"],
    )


def ask(folder: Path, entry: str, *bodies: object) -> list[tuple[int, Mapping[str, Any]]]:
    """Serve a function and send it bodies."""

    async def run() -> list[tuple[int, Mapping[str, Any]]]:
        process = await ServingProcess.start(spec(folder, entry), folder / "log" / "serving.log")
        try:
            upstream = Upstream(process.port)
            answers = []
            for body in bodies:
                answer = await upstream.send("POST", b"/score", [], json.dumps(body).encode())
                answers.append((answer.status, json.loads(await answer.read())))
            upstream.close()
            return answers
        finally:
            await process.stop()

    return asyncio.run(run())


def test_a_plain_function_is_served(tmp_path: Path) -> None:
    answers = ask(tmp_path, "greet:plain", {"name": "ab"}, {"name": "ab", "times": 2})
    assert answers == [(200, {"output": "ab"}), (200, {"output": "abab"})]


def test_an_async_function_is_served_without_prompt_flow(tmp_path: Path) -> None:
    assert ask(tmp_path, "greet:later", {"name": "Ana"}) == [(200, {"greeting": "hello Ana", "prompt_flow": False})]


def test_wrong_inputs_are_the_callers_and_what_is_raised_is_the_flows(tmp_path: Path) -> None:
    answers = ask(tmp_path, "greet:broken", {}, {"name": "x", "more": 1}, [1], {"name": "x"})
    assert [(status, body["error"]["message"]) for status, body in answers] == [
        (400, "missing inputs: name"),
        (400, "unknown inputs: more"),
        (400, "the body is no JSON object"),
        (500, "ValueError: no x"),
    ]


def test_what_the_flow_prints_is_in_the_log_without_secrets(tmp_path: Path) -> None:
    ask(tmp_path, "greet:plain")
    assert (tmp_path / "log" / "serving.log").read_text() == "imported ***\n"


def test_a_function_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FlowRefusedError, match="AttributeError: module 'greet' has no attribute 'nobody'"):
        ask(tmp_path, "greet:nobody")


PROMPTY = """\
---
name: summary
model:
  api: chat
  configuration: {type: openai, connection: model, model: any}
  parameters: {max_tokens: 64}
inputs:
  text: {type: string}
---
system:
Summarise.

user:
{{text}}
"""
STREAM = """\
import os
import time

from promptflow.core import tool

@tool
def answer(question: str):
    yield "first "
    while not os.path.exists(question):
        time.sleep(0.01)
    yield "last"
"""


def promptflow_spec(folder: Path, kind: str, flow_file: str, connections: Mapping[str, Any]) -> ServingSpec:
    return ServingSpec(
        kind=kind, folder=folder, flow_file=flow_file, paths=[folder], python=sys.executable, connections=connections
    )


def test_a_prompty_is_served(tmp_path: Path) -> None:
    (tmp_path / "summary.prompty").write_text(PROMPTY)

    async def run(base_url: str) -> tuple[int, bytes]:
        values = {"type": "open_ai", "configs": {"base_url": base_url}, "secrets": {"api_key": "any"}}
        wanted = promptflow_spec(tmp_path, "prompty", "summary.prompty", {"model": values})
        process = await ServingProcess.start(wanted, tmp_path / "log")
        try:
            upstream = Upstream(process.port)
            answer = await upstream.send("POST", b"/score", [], b'{"text": "A quiet ferry."}')
            body = await answer.read()
            upstream.close()
            return answer.status, body
        finally:
            await process.stop()

    with StandInProcess() as model:
        status, body = asyncio.run(run(model.base_url))
        assert (status, model.stats().calls) == (200, 1), body


LOOK = """
import os
from promptflow.core import tool

@tool
def answer(question: str) -> str:
    return f"{os.environ.get('WHOSE')} {os.environ.get('OTHERS')} {os.getppid() == %d}"
"""


@pytest.mark.parametrize("forked", [True, False])
def test_a_flow_has_its_own_environment_however_its_process_was_started(tmp_path: Path, *, forked: bool) -> None:
    flow = echo_flow(tmp_path)
    (flow / "answer.py").write_text(LOOK % os.getpid())
    path = os.environ["PATH"]

    async def run() -> Mapping[str, str]:
        forks = ForkServers((), {"PATH": path, "OTHERS": "of the fork server"}, ["uvicorn"])
        wanted = replace(promptflow_spec(flow, "dag", "flow.dag.yaml", {}), environ={"PATH": path, "WHOSE": "its own"})
        process = await ServingProcess.start(wanted, tmp_path / "log", forks if forked else None)
        try:
            upstream = Upstream(process.port)
            answer = await upstream.send("POST", b"/score", [], b'{"question": ""}')
            outputs: Mapping[str, str] = json.loads(await answer.read())
            upstream.close()
            return outputs
        finally:
            await process.stop()
            await forks.close()

    assert asyncio.run(run()) == {"answer": f"its own None {not forked}"}


def test_a_streamed_answer_comes_piece_by_piece(tmp_path: Path) -> None:
    flow = echo_flow(tmp_path)
    (flow / "answer.py").write_text(STREAM)
    signal = tmp_path / "go-on"

    async def run() -> list[bytes]:
        process = await ServingProcess.start(promptflow_spec(flow, "dag", "flow.dag.yaml", {}), tmp_path / "log")
        try:
            body = json.dumps({"question": str(signal)}).encode()
            upstream = Upstream(process.port)
            answer = await upstream.send("POST", b"/score", [(b"accept", b"text/event-stream")], body)
            pieces = [piece async for piece in _releasing(answer.pieces(), signal.touch)]
            assert not answer.is_whole
            upstream.close()
            return pieces
        finally:
            await process.stop()

    pieces = asyncio.run(run())
    assert b"first" in pieces[0]
    assert b"last" not in pieces[0]
    assert b"last" in b"".join(pieces)


async def _releasing(pieces: AsyncIterator[bytes], release: Callable[[], None]) -> AsyncIterator[bytes]:
    """Pass pieces on; let the flow go on once the first one is here."""
    async for piece in pieces:
        release()
        yield piece
