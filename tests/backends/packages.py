"""Packages of small flows, as `llmops register` makes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from llmops.core.documents import to_json
from llmops.flows.closure import find_closure
from llmops.flows.digest import digest_closure, digest_with_overlay
from llmops.flows.folder import read_flow_in
from llmops.flows.tree import WorkingTree
from llmops.records import FlowRef, write_record
from llmops.releases import Manifest, ModelRecord, PackagedFile

DAG = """\
inputs:
  question: {{type: string}}
outputs:
  answer: {{type: string, reference: "${{answer.output}}"}}
nodes:
- name: answer
  type: python
  source: {{type: code, path: answer.py}}
  inputs: {{question: "${{inputs.question}}"}}
# {comment}
"""
ANSWER = """\
from promptflow.core import tool

@tool
def answer(question: str) -> str:
    {body}
"""


def echo_flow(root: Path, body: str = "return question[::-1]", comment: str = "") -> Path:
    """Write a flow of one node with a given body."""
    folder = root / "flows" / "echo"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "flow.dag.yaml").write_text(DAG.format(comment=comment))
    (folder / "answer.py").write_text(ANSWER.format(body=body))
    return folder
