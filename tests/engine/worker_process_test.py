from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from llmops.engine.worker_process import WorkerProcess, WorkerSpec
from llmops.errors import UsageError

FLOW = """
inputs: {text: {type: string}}
outputs: {answer: {type: string, reference: "${ask.output}"}}
nodes:
- name: ask
  type: python
  source: {type: code, path: ask.py}
  inputs: {connection: nobody, text: "${inputs.text}"}
"""
ASK = """
from promptflow.connections import OpenAIConnection
from promptflow.core import tool

@tool
def ask(connection: OpenAIConnection, text: str) -> str:
    return text
"""


def test_a_connection_that_is_not_there_is_named_with_its_node(tmp_path: Path) -> None:
    """prompt flow holds the text of the error where its other classes hold the error itself."""
    (tmp_path / "flow.dag.yaml").write_text(FLOW)
    (tmp_path / "ask.py").write_text(ASK)
    worker = WorkerProcess(WorkerSpec(name="asker", folder=tmp_path, flow_file="flow.dag.yaml"), tmp_path / "log")
    with pytest.raises(UsageError, match=r"asker \(node ask\): the flow does not load\n.*'nobody' not found"):
        asyncio.run(worker.start())
