"""Packages of small flows, made as `llmops register` makes them."""

from __future__ import annotations

from pathlib import Path

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


def package(flow: Path, into: Path, *, model: str = "echo", variants: dict[str, str] | None = None) -> Manifest:
    """Package a flow of a project whose root is two folders up."""
    tree = WorkingTree(flow.parents[1])
    closure = find_closure(tree, read_flow_in(tree, f"flows/{flow.name}"))
    ref = FlowRef(path=closure.flow.path, digest=digest_closure(tree, closure), variants=variants or {})
    into.mkdir(parents=True)
    source = FlowSource(ref=ref, tree=tree, closure=closure)
    return build_package(source, model=model, proof=None, without_verdict="a test", into=into)
