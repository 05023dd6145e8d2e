"""Workers that are forked from an interpreter which has imported the framework."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from llmops.engine.fork_server import ForkServer, ForkServers, NoForkError
from llmops.engine.pipes import open_pipes
from llmops.engine.worker_process import WorkerDiedError, WorkerProcess, WorkerSpec

FLOW = """
inputs: {code: {type: string}}
outputs: {value: {type: string, reference: "${look.output}"}}
nodes:
- name: look
  type: python
  source: {type: code, path: look.py}
  inputs: {code: "${inputs.code}"}
"""
LOOK = """
from promptflow.core import tool

@tool
def look(code: str) -> str:
    return str(eval(code))
"""

Use = Callable[[WorkerProcess], Coroutine[Any, Any, Any]]


@pytest.fixture
def flow(tmp_path: Path) -> WorkerSpec:
    folder = tmp_path / "flow"
    folder.mkdir()
    (folder / "flow.dag.yaml").write_text(FLOW, encoding="utf-8")
    (folder / "look.py").write_text(LOOK, encoding="utf-8")
    return WorkerSpec(name="looker", folder=folder, flow_file="flow.dag.yaml")


def with_worker(spec: WorkerSpec, use: Use, *, secrets: set[str] | None = None) -> Any:
    """Start a forked worker, use it, and end it and its server."""

    async def run() -> Any:
        forks = ForkServers(secrets or set())
        worker = WorkerProcess(spec, spec.folder.parent / "log", forks)
        try:
            await worker.start()
            return await use(worker)
        finally:
            await worker.stop()
            await forks.close()

    return asyncio.run(run())


def looking(code: str) -> Use:
    async def look(worker: WorkerProcess) -> str:
        answer = await worker.line({"code": code}, timeout_s=60)
        return str(answer["outputs"]["value"])

    return look


def test_workers_share_the_import_of_the_framework_and_nothing_else(flow: WorkerSpec) -> None:
    async def run() -> tuple[list[str], list[str]]:
        forks = ForkServers(set())
        workers = [WorkerProcess(flow, flow.folder.parent / "log", forks) for _ in range(2)]
        for worker in workers:
            await worker.start()
        parents = [await looking("__import__('os').getppid()")(worker) for worker in workers]
        left = "vars(__import__('sys')).setdefault('left_behind', __import__('os').getpid())"
        found = [await looking(left)(worker) for worker in workers]
        for worker in workers:
            await worker.stop()
        await forks.close()
        return parents, found

    parents, found = asyncio.run(run())
    assert len(set(parents)) == 1 and parents[0] != str(os.getpid())
    assert len(set(found)) == 2


def test_the_secret_of_one_flow_is_nowhere_around_another(flow: WorkerSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_ANOTHER_FLOW", "sesame-1234")
    spec = dataclasses.replace(flow, withheld=["sesame-1234"])
    places = ["open('/proc/self/environ').read()", "__import__('os').environ"]
    found = [with_worker(spec, looking(place), secrets={"sesame-1234"}) for place in places]
    assert all("PATH" in text and "sesame-1234" not in text for text in found)


def test_a_variable_that_one_flow_may_not_see_still_reaches_those_that_may(
    flow: WorkerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_OF_ANOTHER_FLOW", "sesame-1234")
    read = looking("__import__('os').environ['KEY_OF_ANOTHER_FLOW']")
    assert with_worker(flow, read, secrets={"sesame-1234"}) == "sesame-1234"


def test_a_module_of_the_flow_does_not_take_the_place_of_a_librarys(flow: WorkerSpec) -> None:
    """As with prompt flow, which has imported its libraries when it comes to the flow's folder."""
    (flow.folder / "jinja2.py").write_text("raise RuntimeError('the wrong one')\n", encoding="utf-8")
    assert with_worker(flow, looking("1 + 1")) == "2"


def test_an_interpreter_that_is_no_python_is_started_anew_to_say_what_is_wrong(flow: WorkerSpec) -> None:
    async def run() -> None:
        forks = ForkServers(set())
        worker = WorkerProcess(dataclasses.replace(flow, python="/bin/false"), flow.folder / "log", forks)
        try:
            await worker.start()
        finally:
            await worker.stop()
            await forks.close()

    with pytest.raises(WorkerDiedError, match="the worker process ended with exit code 1"):
        asyncio.run(run())


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])


def test_a_server_that_is_gone_cannot_fork_and_its_workers_count_as_dead() -> None:
    async def run() -> tuple[int, bool]:
        server = ForkServer(sys.executable, os.environ)
        pipes, ends = await open_pipes()
        worker = await server.fork(ends)
        for descriptor in ends:
            os.close(descriptor)
        os.kill(parent_of(worker.pid), signal.SIGKILL)
        code = await worker.wait()
        pipes.close()
        refused = False
        other, more = await open_pipes()
        try:
            await server.fork(more)
        except NoForkError:
            refused = True
        for descriptor in more:
            os.close(descriptor)
        other.close()
        await server.close()
        return code, refused

    assert asyncio.run(run()) == (-signal.SIGKILL, True)
