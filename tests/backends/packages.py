"""Packages of small flows, made as `llmops register` makes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmops.backends.protocols import FlowSource
from llmops.delivery.package import build_package
from llmops.flows.closure import find_closure
from llmops.flows.digest import digest_closure
from llmops.flows.folder import read_flow_in
from llmops.flows.tree import WorkingTree
from llmops.records import FlowRef
from llmops.releases import Manifest

DAG = """\
inputs:
  question: {type: string}
outputs:
  answer: {type: string, reference: "${answer.output}"}
nodes:
- name: answer
  type: python
  source: {type: code, path: answer.py}
  inputs: {question: "${inputs.question}"}
"""
NODE = """\
import os
import time

from promptflow.core import tool

@tool
def answer(question: str) -> str:
    order, _, argument = question.partition(":")
    if order == "sleep":
        time.sleep(float(argument))
    while order == "wait" and not os.path.exists(argument):
        time.sleep(0.01)
    if order == "raise":
        raise ValueError(argument)
    if order == "environment":
        return os.environ.get(argument, "")
    return "VERSION" + question
"""
LLM = """\
inputs:
  text: {type: string}
outputs:
  summary: {type: string, reference: "${summarise.output}"}
node_variants:
  summarise:
    default_variant_id: short
    variants:
      short: {node: {type: llm, source: {type: code, path: short.jinja2}, connection: model, api: chat,
                     inputs: {model: m, text: "${inputs.text}"}}}
      long: {node: {type: llm, source: {type: code, path: long.jinja2}, connection: model, api: chat,
                    inputs: {model: m, text: "${inputs.text}"}}}
nodes:
- {name: summarise, use_variants: true}
"""
PLAIN = """\
import os
import time

def answer(question: str):
    order, _, argument = question.partition(":")
    if order == "sleep":
        time.sleep(float(argument))
    while order == "wait" and not os.path.exists(argument):
        time.sleep(0.01)
    if order == "raise":
        raise ValueError(argument)
    return {"answer": "VERSION" + question}
"""
GREETER = """\
import os

class Greeter:
    def __init__(self, greeting: str):
        self.greeting = greeting

    def __call__(self, question: str):
        return {"answer": f"{self.greeting} {question}", "python": os.environ.get("STARTED_BY", "")}
"""


def echo_flow(root: Path, version: str = "one ") -> Path:
    """Write a flow that answers with its version and the question; a question may also ask for trouble."""
    folder = root / "flows" / "echo"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "flow.dag.yaml").write_text(DAG)
    (folder / "answer.py").write_text(NODE.replace("VERSION", version))
    return folder


def llm_flow(root: Path) -> Path:
    """Write a flow with one LLM node of two variants."""
    folder = root / "flows" / "summary"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "flow.dag.yaml").write_text(LLM)
    (folder / "short.jinja2").write_text("# system:\nSummarise in one sentence.\n\n# user:\n{{text}}\n")
    (folder / "long.jinja2").write_text("# system:\nSummarise.\n\n# user:\nLONG {{text}}\n")
    return folder


def plain_flow(root: Path, version: str = "one ") -> Path:
    """Write `echo_flow` as a plain function, `flows/plain/main.py:answer`: its process starts in no time."""
    folder = root / "flows" / "plain"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "main.py").write_text(PLAIN.replace("VERSION", version))
    return folder


def greeter_flow(root: Path) -> Path:
    """Write a class that is a flow, greets as its `init` says, and tells which variable its Python was started with."""
    folder = root / "flows" / "greeter"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "main.py").write_text(GREETER)
    return folder


def package(flow: Path, into: Path, *, model: str = "echo", source: str = "", **overlay: Any) -> Manifest:
    """Package a flow of a project whose root is two folders up.

    Args:
        flow: its folder.
        into: a folder that does not exist.
        model: name of the model.
        source: the flow as an experiment names it, for a callable; its folder when empty.
        overlay: what `FlowRef` holds beside the digest, for instance `variants`.
    """
    tree = WorkingTree(flow.parents[1])
    closure = find_closure(tree, read_flow_in(tree, source or f"flows/{flow.name}"))
    ref = FlowRef(path=closure.flow.name, digest=digest_closure(tree, closure), **overlay)
    into.mkdir(parents=True)
    found = FlowSource(ref=ref, tree=tree, closure=closure)
    return build_package(found, model=model, proof=None, without_verdict="a test", into=into)
