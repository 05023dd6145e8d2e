from __future__ import annotations

from pathlib import Path

import pytest

from llmops.errors import UsageError
from llmops.flows.folder import FlowMissing, connections_in_use, find_flows, read_flow, validate_variants
from llmops.flows.model import Flow, FlowInput, NodeVariants
from llmops.flows.tree import WorkingTree
from tests.flows.repository import DAG, Repository

VARIANTS = """\
environment_variables:
  KEY: ${search.api_key}
  LIST: [1, 2]
inputs:
  url: {type: string}
  limit: {type: int, default: 3}
  note: {type: string, default: null}
outputs:
  category: {type: string, reference: "${classify.output}"}
nodes:
- name: fetch
  type: python
  source: {type: code, path: fetch.py}
  inputs: {conn: index, other: "${inputs.url}", plain: index}
- name: look
  type: custom_llm
  source: {type: package, tool: some.tool}
  inputs: {search_connection: vault, text: perhaps}
- name: summarise
  use_variants: true
- name: classify
  type: llm
  source: {type: code, path: classify.jinja2}
  connection: chat
  api: chat
  inputs: {deployment_name: gpt}
node_variants:
  summarise:
    default_variant_id: short
    variants:
      short:
        node: {type: llm, source: {type: code, path: short.jinja2}, connection: cheap, api: chat}
      yes:
        node:
          type: llm
          source: {type: code, path: long.jinja2}
          connection: dear
"""
FETCH = """\
from promptflow.core import tool
from promptflow.connections import CustomConnection

@tool
def fetch(conn: CustomConnection, other: CustomConnection, plain: str) -> str: ...
"""
PROMPTY = """\
---
name: basic
model:
  api: chat
  configuration:
    type: azure_openai
    connection: chat
inputs:
  question:
    type: string
  tone:
    type: string
    default: kind
outputs:
  answer: {type: string}
---
system:
Answer {{question}} in a {{tone}} way.
"""


@pytest.fixture
def flow(empty: Repository) -> Flow:
    empty.write({"flows/web/flow.dag.yaml": VARIANTS, "flows/web/fetch.py": FETCH})
    return read_flow(empty.root, "flows/web")


def refusal(repository: Repository, path: str) -> str:
    with pytest.raises(UsageError) as caught:
        read_flow(repository.root, path)
    return str(caught.value)


def test_a_dag_flow_is_read_as_it_describes_itself(flow: Flow) -> None:
    assert (flow.path, flow.kind, flow.file) == ("flows/web", "dag", "flows/web/flow.dag.yaml")
    assert flow.inputs == {
        "url": FlowInput(type="string", required=True),
        "limit": FlowInput(type="int", required=False, default=3),
        "note": FlowInput(type="string", required=False),
    }
    assert flow.outputs == ("category",)
    assert flow.nodes == ("fetch", "look", "summarise", "classify")
    assert flow.variants == {"summarise": NodeVariants(default="short", names=("short", "yes"))}
    assert flow.environment_variables == {"KEY": "${search.api_key}", "LIST": "[1, 2]"}


def test_connections_are_found_where_they_are_named(flow: Flow) -> None:
    found = {
        (use.node, use.variant, use.name, use.where.removeprefix("flows/web/flow.dag.yaml:"))
        for use in flow.connections
        if use.is_sure
    }
    assert found == {
        ("fetch", None, "index", "14: nodes[0].inputs.conn"),
        ("look", None, "vault", "18: nodes[1].inputs.search_connection"),
        ("summarise", "short", "cheap", "32: node_variants.summarise.variants.short.node.connection"),
        ("summarise", "yes", "dear", "37: node_variants.summarise.variants.yes.node.connection"),
        ("classify", None, "chat", "24: nodes[3].connection"),
        (None, None, "search", "2: environment_variables.KEY"),
    }


def test_only_the_chosen_variants_connections_are_in_use(flow: Flow) -> None:
    assert "cheap" in {use.name for use in connections_in_use(flow, {})}
    names = {use.name for use in connections_in_use(flow, {"summarise": "yes"})}
    assert names == {"index", "vault", "dear", "chat", "search"}


def test_a_text_for_a_tool_of_a_package_is_a_connection_if_one_has_that_name(flow: Flow) -> None:
    assert "perhaps" not in {use.name for use in connections_in_use(flow, {})}
    assert "perhaps" in {use.name for use in connections_in_use(flow, {}, known=["perhaps"])}


def test_every_wrong_choice_of_variants_is_named(flow: Flow) -> None:
    validate_variants(flow, {"summarise": "yes"})
    with pytest.raises(UsageError) as caught:
        validate_variants(flow, {"summarize": "yes", "classify": "x", "summarise": "shrt"})
    where = "flows/web/flow.dag.yaml: node_variants"
    assert str(caught.value) == (
        f"{where}.summarize: no such node\n  expected one of summarise\n  did you mean 'summarise'?\n"
        f"{where}.classify: this node has no variants\n  expected one of summarise\n"
        f"{where}.summarise: no such variant\n  found 'shrt'\n  expected one of short, yes\n  did you mean 'short'?"
    )


def test_a_flex_flow_is_known_by_its_entry(repository: Repository) -> None:
    repository.write({"flows/flex/flow.flex.yaml": "entry: main:run\ninputs:\n  a: {type: string}\n"})
    flow = read_flow(repository.root, "flows/flex")
    assert (flow.kind, flow.entry, list(flow.inputs)) == ("flex", "main:run", ["a"])


@pytest.mark.parametrize("path", ["flows/p/basic.prompty", "flows/p", "./flows/p/"])
def test_a_prompty_file_is_a_flow(repository: Repository, path: str) -> None:
    repository.write({"flows/p/basic.prompty": PROMPTY})
    flow = read_flow(repository.root, path)
    assert (flow.path, flow.kind, flow.definition) == ("flows/p", "prompty", "basic.prompty")
    assert {name: value.required for name, value in flow.inputs.items()} == {"question": True, "tone": False}
    assert [(use.name, use.where) for use in flow.connections] == [
        ("chat", "flows/p/basic.prompty:7: model.configuration.connection")
    ]


def test_an_absolute_path_is_taken_as_one_in_the_project(repository: Repository) -> None:
    assert read_flow(repository.root, str(repository.root / "flows/qa")).path == "flows/qa"


def test_a_missing_folder_gets_a_near_match(repository: Repository) -> None:
    assert refusal(repository, "flows/qaa") == (
        "flows/qaa: no such flow folder in the working tree\n  expected one of flows/qa\n  did you mean 'flows/qa'?"
    )


def test_a_folder_without_a_flow_is_missing_a_flow(repository: Repository) -> None:
    repository.write({"flows/empty/x.txt": ""})
    with pytest.raises(FlowMissing, match="flows/empty: no flow in this folder"):
        read_flow(repository.root, "flows/empty")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nodes: [\n", "flows/qa/flow.dag.yaml:2: broken YAML\n  found "),
        ("a: 1\nb: : 2\n", "flows/qa/flow.dag.yaml:2: broken YAML\n  found "),
        ("- one\n", "flows/qa/flow.dag.yaml: not a flow\n  found a YAML list\n  expected a mapping"),
        ("", "flows/qa/flow.dag.yaml: not a flow\n  expected `nodes` (a DAG flow) or `entry` (a flex flow)"),
        ("a: 1\n\xff".encode("latin-1"), "flows/qa/flow.dag.yaml:2: not UTF-8\n  Save the file as UTF-8."),
        ("nodes: {}\ninputs: [a]\n", "flows/qa/flow.dag.yaml:2: inputs: not a mapping\n  found ['a']"),
        ("nodes: 3\n", "flows/qa/flow.dag.yaml:1: nodes: not a list\n"),
        ("nodes:\n- name: a\n- type: llm\n", "flows/qa/flow.dag.yaml:3: nodes[1]: not a node\n"),
        ("nodes:\n- {name: a, use_variants: true}\n", "flows/qa/flow.dag.yaml:1: node_variants.a: node 'a' has"),
        ("nodes: []\nadditional_includes: x\n", "flows/qa/flow.dag.yaml:2: additional_includes: not a list\n"),
    ],
)
def test_a_broken_definition_says_where(repository: Repository, content: str | bytes, message: str) -> None:
    repository.write({"flows/qa/flow.dag.yaml": content})
    assert refusal(repository, "flows/qa").startswith(message)


def test_a_broken_prompty_says_where(repository: Repository) -> None:
    repository.write({"flows/p/a.prompty": "no front matter", "flows/p/b.prompty": "---\nname: x\n  y: z\n---\nhi"})
    assert refusal(repository, "flows/p/a.prompty").startswith("flows/p/a.prompty: has no front matter\n")
    assert refusal(repository, "flows/p/b.prompty").startswith("flows/p/b.prompty:3: broken YAML\n")
    assert refusal(repository, "flows/p").startswith("flows/p: several flows in one folder\n")


@pytest.mark.parametrize("path", ["..", "../other", "/etc"])
def test_a_flow_outside_of_the_project_is_refused(repository: Repository, path: str) -> None:
    assert "not in the project folder" in refusal(repository, path)


def test_a_file_that_defines_no_flow_is_refused(repository: Repository) -> None:
    assert refusal(repository, "flows/qa/answer.py").startswith("flows/qa/answer.py: not a flow\n")


def test_flows_are_found_outside_of_caches(repository: Repository) -> None:
    repository.write({"a/flow.flex.yaml": "entry: x:y", ".venv/b/flow.dag.yaml": DAG, "c/x.prompty": PROMPTY})
    assert find_flows(WorkingTree(Path(repository.root))) == ["a", "c", "flows/qa"]


def test_ignored_folders_hold_no_flows(repository: Repository) -> None:
    repository.write({"out/x/flow.dag.yaml": DAG, "a/.cache/b/flow.dag.yaml": DAG, ".gitignore": "/out/\n.cache/\n"})
    assert find_flows(WorkingTree(Path(repository.root))) == ["flows/qa"]
