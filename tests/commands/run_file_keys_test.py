"""Every key that a run file of prompt flow may have does what it says, or is said to do nothing here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmops.commands.run_file import KEYS
from tests.projects import TinyProject, make_project

ASK = """\
import os
from promptflow.connections import CustomConnection
from promptflow.core import tool

@tool
def ask(word: str, service: CustomConnection, mark: str) -> str:
    return f"{word} {service.region} {mark} {os.environ.get('TONE')}"
"""


def variant(mark: str) -> dict[str, Any]:
    inputs = {"word": "${inputs.word}", "service": "north", "mark": mark}
    return {"node": {"type": "python", "source": {"type": "code", "path": "ask.py"}, "inputs": inputs}}


FLOW = {
    "inputs": {"word": {"type": "string"}},
    "outputs": {"said": {"type": "string", "reference": "${ask.output}"}},
    "nodes": [{"name": "ask", "use_variants": True}],
    "node_variants": {
        "ask": {"default_variant_id": "plain", "variants": {"plain": variant("."), "loud": variant("!")}}
    },
}
PLACES = {name: {"type": "custom", "configs": {"region": name}} for name in ("north", "south")}
BASE = {"flow": "../flows/ask", "data": "../words.jsonl", "name": "this"}


@pytest.fixture
def project(tmp_path: Path) -> TinyProject:
    project = make_project(tmp_path)
    project.write("flows/ask/flow.dag.yaml", json.dumps(FLOW))
    project.write("flows/ask/ask.py", ASK)
    project.write("words.jsonl", '{"word": "one", "text": "uno"}\n{"word": "two", "text": "due"}\n')
    project.write("config/environments/local.yaml", json.dumps({"backend": "local", "connections": PLACES}))
    return project


def run(project: TinyProject, **keys: Any) -> tuple[dict[str, Any], str]:
    """Run a file with these keys beside the usual ones; return what `runs show` says, and what was said."""
    project.write("files/run.yml", json.dumps({**BASE, **keys}))
    answer = project.run("run", "--file", "files/run.yml")
    assert answer.code == 0, answer.err
    name = keys.get("name", BASE["name"])
    shown: dict[str, Any] = json.loads(project.run("runs", "show", name, "--json").out)
    return shown, answer.err


def said(shown: dict[str, Any]) -> list[str]:
    return [line["outputs"]["said"] for line in shown["lines"]]


CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "flow": ({}, ["one north . None", "two north . None"]),
    "data": ({"data": "../more.jsonl"}, ["three north . None"]),
    "column_mapping": ({"column_mapping": {"word": "${data.text}"}}, ["uno north . None", "due north . None"]),
    "variant": ({"variant": "${ask.loud}"}, ["one north ! None", "two north ! None"]),
    "connections": ({"connections": {"ask": {"service": "south"}}}, ["one south . None", "two south . None"]),
    "environment_variables": ({"environment_variables": {"TONE": "mild"}}, ["one north . mild", "two north . mild"]),
}


@pytest.mark.parametrize("key", CASES)
def test_a_key_decides_what_the_lines_say(project: TinyProject, key: str) -> None:
    project.write("more.jsonl", '{"word": "three"}\n')
    keys, expected = CASES[key]
    assert said(run(project, **keys)[0]) == expected


def test_init_makes_the_class_of_a_flex_flow(project: TinyProject) -> None:
    project.write("flows/say/flow.flex.yaml", "entry: say:Say\n")
    project.write(
        "flows/say/say.py",
        "class Say:\n    def __init__(self, mark): self.mark = mark\n"
        "    def __call__(self, word): return {'said': word + self.mark}\n",
    )
    assert said(run(project, flow="../flows/say", init={"mark": "?"})[0]) == ["one?", "two?"]


def test_run_names_the_run_whose_outputs_are_taken(project: TinyProject) -> None:
    run(project, name="before")
    shown, _ = run(project, run="before", column_mapping={"word": "${run.outputs.said}"}, name="this")
    assert said(shown)[0] == "one north . None north . None"


@pytest.mark.parametrize("key", ["name", "display_name", "description", "tags", "properties"])
def test_what_a_run_is_called_is_kept_with_it(project: TinyProject, key: str) -> None:
    value: Any = {"a": "b"} if key in {"tags", "properties"} else "this"
    shown, _ = run(project, **{key: value})
    assert [named[key] for named in shown["names"]] == [value]


@pytest.mark.parametrize("key", sorted({*KEYS.elsewhere, "resources"}))
def test_a_key_for_the_cloud_is_said_to_do_nothing_here(project: TinyProject, key: str) -> None:
    value: Any = {"instance_type": "large"} if key == "resources" else "something"
    _, err = run(project, **{key: value})
    assert f"`{key}` has no meaning for the backend 'local' and is not used." in err


def test_no_key_is_left_out_of_these_tests() -> None:
    named = {"name", "display_name", "description", "tags", "properties", "init", "run", "$schema"}
    assert set(KEYS.all) == {*CASES, *named, *KEYS.elsewhere, "resources"}
