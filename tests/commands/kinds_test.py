"""Kinds of flows through the whole command line: callables, overlays, connections in variables, own interpreters."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.projects import TinyProject, make_project, make_wheel

CALLABLE = """\
import asyncio, dataclasses, sys

@dataclasses.dataclass
class Answer:
    text: str

def plain(question): return question.upper()
async def awaited(question):
    await asyncio.sleep(0)
    return {"text": question.upper()}
def pieces(question):
    yield from question.upper()
async def async_pieces(question):
    for letter in question:
        yield letter.upper()
def structured(question): return Answer(text=question.upper())
def without_prompt_flow(question): return "promptflow" in sys.modules
def anything(**columns): return sorted(columns)
class Shout:
    def __init__(self, mark="?"): self.mark = mark
    async def __call__(self, question): return question.upper() + self.mark
    def __aggregate__(self, lines): return {"lines": len(lines)}
def fussy(question):
    raise ValueError("no")
"""


@pytest.fixture
def project(tmp_path: Path) -> TinyProject:
    project = make_project(tmp_path)
    project.rows("a", "b")
    project.write("talk/plain.py", CALLABLE)
    return project


def configure(project: TinyProject, **settings: Any) -> None:
    experiment = {"datasets": {"rows": {"path": "rows.jsonl"}}, **settings}
    project.write("config/experiments/tiny.yaml", json.dumps(experiment))


def run(project: TinyProject) -> tuple[dict[str, Any], list[Any]]:
    """Run the experiment; return the record and each line's outputs."""
    answer = project.run("run", "tiny", "--json")
    assert answer.code == 0, answer.err
    record = json.loads(answer.out)
    lines = (project.root / ".llmops/runs" / record["id"] / "lines.jsonl").read_text("utf-8").splitlines()
    return record, [json.loads(line)["outputs"] for line in lines]


@pytest.mark.parametrize(
    ("name", "outputs"),
    {
        "plain": {"output": "A"},
        "awaited": {"text": "A"},
        "pieces": {"output": "A"},
        "async_pieces": {"output": "A"},
        "structured": {"text": "A"},
        "without_prompt_flow": {"output": False},
        "anything": {"output": ["expected", "question"]},
    }.items(),
)
def test_a_callable_gives_its_outputs_by_name(project: TinyProject, name: str, outputs: dict[str, Any]) -> None:
    configure(project, flow=f"talk.plain:{name}")
    assert run(project)[1][0] == outputs


def test_a_class_takes_init_and_aggregates(project: TinyProject) -> None:
    configure(project, flow="talk/plain.py:Shout", init={"mark": "!"})
    record, outputs = run(project)
    assert outputs == [{"output": "A!"}, {"output": "B!"}]
    assert (record["metrics"], record["flow"]["init"]) == ({"lines": 2}, {"mark": "!"})


def test_another_init_is_another_run(project: TinyProject) -> None:
    configure(project, flow="talk/plain.py:Shout", init={"mark": "!"})
    first, _ = run(project)
    configure(project, flow="talk/plain.py:Shout")
    second, outputs = run(project)
    assert first["id"] != second["id"]
    assert outputs[0] == {"output": "A?"}


def test_a_callable_that_raises_fails_its_line(project: TinyProject) -> None:
    configure(project, flow="talk.plain:fussy")
    record, outputs = run(project)
    assert (record["failed"], outputs) == (2, [None, None])


def test_init_for_a_flow_that_is_no_class_is_refused(project: TinyProject) -> None:
    configure(project, flow="flows/answer", init={"mark": "!"})
    answer = project.run("run", "tiny")
    assert answer.code == 2
    assert "arguments for a class, but the flow is none" in answer.err


def test_settings_of_a_node_that_does_not_exist_are_refused_with_a_near_match(project: TinyProject) -> None:
    configure(project, flow="flows/answer", nodes={"anser": {"model": "x"}})
    answer = project.run("run", "tiny")
    assert answer.code == 2
    assert "did you mean 'answer'?" in answer.err


SPEAK = """\
import os
from promptflow.core import tool

@tool
def answer(question: str) -> str:
    return os.environ["REGION"]
"""

LOCAL = """\
backend: local
connections:
  place: {type: custom, configs: {region: north}}
"""


def test_a_connection_that_a_variable_names_reaches_the_flow(project: TinyProject) -> None:
    project.write("config/environments/local.yaml", LOCAL)
    project.write("flows/answer/answer.py", SPEAK)
    configure(project, flow="flows/answer", environment_variables={"REGION": "${place.region}"})
    record, outputs = run(project)
    assert outputs[0] == {"answer": "north"}
    assert list(record["connections"]) == ["place"]


def test_a_connection_that_a_variable_names_must_exist(project: TinyProject) -> None:
    project.write("config/environments/local.yaml", LOCAL)
    configure(project, flow="flows/answer", environment_variables={"REGION": "${plaice.region}"})
    answer = project.run("run", "tiny")
    assert answer.code == 2
    assert "environment_variables.REGION: the environment 'local' has no connection 'plaice'" in answer.err
    assert "did you mean 'place'?" in answer.err


TWO_VARIANTS = """\
inputs: {question: {type: string}}
outputs:
  out: {type: string, reference: "${two.output}"}
nodes:
- {name: one, use_variants: true}
- {name: two, use_variants: true}
node_variants:
  one:
    default_variant_id: a
    variants:
      a: {node: {type: python, source: {type: code, path: add.py}, inputs: {text: "${inputs.question}", mark: "1a"}}}
      b: {node: {type: python, source: {type: code, path: add.py}, inputs: {text: "${inputs.question}", mark: "1b"}}}
  two:
    default_variant_id: a
    variants:
      a: {node: {type: python, source: {type: code, path: add.py}, inputs: {text: "${one.output}", mark: "2a"}}}
      b: {node: {type: python, source: {type: code, path: add.py}, inputs: {text: "${one.output}", mark: "2b"}}}
"""
ADD = "from promptflow.core import tool\n\n@tool\ndef add(text: str, mark: str) -> str:\n    return text + mark\n"


@pytest.mark.parametrize(("one", "two"), [("a", "b"), ("b", "a"), ("b", "b")])
def test_variants_of_several_nodes_run_in_any_combination(project: TinyProject, one: str, two: str) -> None:
    project.write("flows/both/flow.dag.yaml", TWO_VARIANTS)
    project.write("flows/both/add.py", ADD)
    configure(project, flow="flows/both", variants={"one": one, "two": two}, nodes={"two": {"mark": "!"}})
    assert run(project)[1][0] == {"out": f"a1{one}!"}


def add_flow_with_package(project: TinyProject, name: str, version: str) -> None:
    wheel = make_wheel(project.root / f"flows/{name}", version)
    project.write(f"flows/{name}/requirements.txt", f"./{wheel}\n")
    project.write(f"flows/{name}/main.py", "import greeting\n\ndef run(question):\n    return greeting.VERSION\n")
    experiment = {
        "flow": f"flows/{name}/main.py:run",
        "python": "auto",
        "datasets": {"rows": {"path": "rows.jsonl"}},
        "evaluators": {
            "match": {
                "builtin": "exact_match",
                "column_mapping": {"prediction": "${run.outputs.output}", "reference": version},
            }
        },
        "gate": {"thresholds": [{"metric": "exact_match", "min": 1}]},
    }
    project.write(f"config/experiments/{name}.yaml", json.dumps(experiment))


@pytest.mark.slow
def test_two_flows_with_two_versions_of_a_package_pass_one_check(project: TinyProject) -> None:
    add_flow_with_package(project, "older", "1.0")
    add_flow_with_package(project, "newer", "2.0")
    answer = project.run("check", "older", "newer", "--baseline", "none", "--json")
    assert answer.code == 0, answer.out + answer.err
    assert len(list((project.root / ".llmops/environments").glob("*/llmops-ready"))) == 2


def test_a_package_that_cannot_be_installed_is_the_networks_fault_and_exits_4(project: TinyProject) -> None:
    project.write("flows/agent/requirements.txt", "./not-there-1.0-py3-none-any.whl\n")
    project.write("flows/agent/main.py", "def run(question):\n    return 1\n")
    configure(project, flow="flows/agent/main.py:run", python="auto")
    answer = project.run("run", "tiny")
    assert answer.code == 4
    assert "the flow's environment cannot be built (python: auto)" in answer.err


def test_auto_without_requirements_is_refused(project: TinyProject) -> None:
    configure(project, flow="talk/plain.py:plain", python="auto")
    answer = project.run("run", "tiny")
    assert answer.code == 2
    assert "python: auto, but the flow has no requirements.txt" in answer.err


def test_a_python_that_is_named_runs_the_flow(project: TinyProject) -> None:
    project.write("pythons/mine", f'#!/bin/sh\nLLMOPS_TRIED=yes exec {sys.executable} "$@"\n').chmod(0o755)
    project.write("talk/who.py", "import os\n\ndef run(question):\n    return os.environ.get('LLMOPS_TRIED')\n")
    configure(project, flow="talk/who.py:run", python="pythons/mine")
    assert run(project)[1][0] == {"output": "yes"}


def test_a_python_that_is_not_there_is_said(project: TinyProject) -> None:
    configure(project, flow="talk/plain.py:plain", python="pythons/absent")
    answer = project.run("run", "tiny")
    assert answer.code == 2
    assert "no such Python" in answer.err


def test_a_flow_that_ends_its_process_while_it_loads_does_not_load(project: TinyProject) -> None:
    project.write("talk/dead.py", "import os\nos._exit(3)\n\ndef run(question):\n    return 1\n")
    configure(project, flow="talk/dead.py:run")
    answer = project.run("run", "tiny")
    assert answer.code == 2
    assert "found the worker process ended with exit code 3 while it loaded the flow" in answer.err


SEE = """\
from promptflow.contracts.multimedia import Image
from promptflow.core import tool

@tool
def see(picture: Image) -> Image:
    return Image(bytes(picture) + b"!", mime_type="image/png")
"""


def write_seeing(project: TinyProject) -> None:
    project.write("flows/see/see.py", SEE)
    node = {"name": "see", "type": "python", "source": {"type": "code", "path": "see.py"}}
    definition = {
        "inputs": {"picture": {"type": "image"}},
        "outputs": {"seen": {"type": "image", "reference": "${see.output}"}},
        "nodes": [{**node, "inputs": {"picture": "${inputs.picture}"}}],
    }
    project.write("flows/see/flow.dag.yaml", json.dumps(definition))
    project.write("pictures/rows.jsonl", '{"picture": {"data:image/png;path": "one.png"}}\n')
    project.write("pictures/one.png", "one")


def test_images_are_found_beside_the_data_and_come_back_in_the_outputs(project: TinyProject) -> None:
    write_seeing(project)
    configure(project, flow="flows/see", datasets={"rows": {"path": "pictures/rows.jsonl"}})
    assert run(project)[1] == [{"seen": {"data:image/png;base64": base64.b64encode(b"one!").decode()}}]


def test_a_changed_image_is_another_row(project: TinyProject) -> None:
    write_seeing(project)
    configure(project, flow="flows/see", datasets={"rows": {"path": "pictures/rows.jsonl"}})
    run(project)
    project.write("pictures/one.png", "two")
    assert run(project)[1] == [{"seen": {"data:image/png;base64": base64.b64encode(b"two!").decode()}}]


def test_an_evaluation_flow_takes_an_image_that_the_flow_made(project: TinyProject) -> None:
    write_seeing(project)
    mapping = {"picture": "${run.outputs.seen}"}
    rows = {"rows": {"path": "pictures/rows.jsonl"}}
    configure(
        project, flow="flows/see", datasets=rows, evaluators={"e": {"flow": "flows/see", "column_mapping": mapping}}
    )
    _, verdict = project.check("--baseline", "none")
    assert (verdict["candidate"]["scored"], verdict["candidate"]["unmeasured"]) == (1, 0)


CONNECTED = """\
from promptflow.connections import CustomConnection

class Ask:
    def __init__(self, service: CustomConnection, other: CustomConnection) -> None:
        self.places = [service.region, other.region]

    def __call__(self, question: str) -> str:
        return "-".join(self.places)
"""


def test_the_class_of_a_flex_flow_takes_connections_by_name(project: TinyProject) -> None:
    other = "{type: CustomConnection, default: south}"
    project.write(
        "flows/ask/flow.flex.yaml", f"entry: ask:Ask\ninit: {{service: {{type: CustomConnection}}, other: {other}}}\n"
    )
    project.write("flows/ask/ask.py", CONNECTED)
    places = {name: {"type": "custom", "configs": {"region": name}} for name in ("north", "south", "unused")}
    project.write("config/environments/local.yaml", json.dumps({"backend": "local", "connections": places}))
    configure(project, flow="flows/ask", init={"service": "north"}, column_mapping={"question": "${data.question}"})
    record, outputs = run(project)
    assert outputs[0] == {"output": "north-south"}
    assert sorted(record["connections"]) == ["north", "south"]


def test_a_connection_that_the_environment_lacks_is_refused_before_the_first_row(project: TinyProject) -> None:
    project.write("flows/ask/flow.flex.yaml", "entry: ask:Ask\n")
    project.write("flows/ask/ask.py", CONNECTED)
    configure(project, flow="flows/ask", init={"service": "north"}, column_mapping={"question": "${data.question}"})
    answer = project.run("run", "tiny")
    assert answer.code == 2
    assert "init.service: the environment 'local' has no connection 'north'" in answer.err
