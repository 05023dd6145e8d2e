"""Both systems' pipelines take the same inputs and run the same commands, and the driver knows all they pass."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmops.cli.main import build_parser
from tools.check_templates import azure_files, github_files, scripts_of

PIPELINES = ("pull-request", "evaluate", "release", "promote", "rollback")
GITHUB_ALONE = {"attest", "attestedBy"}
"""Attestations are GitHub's."""
AZURE_ALONE = {"driver", "serviceConnection", "fromServiceConnection"}
_COMMAND = re.compile(r"^llmops ([a-z-]+)(.*)$", re.MULTILINE)
_VARIABLE = re.compile(r"\bLLMOPS_[A-Z_]+\b")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def parsers() -> dict[str, argparse.ArgumentParser]:
    choices = (action.choices for action in build_parser()._actions)
    return next(dict(found) for found in choices if isinstance(found, dict))


def camel(name: str) -> str:
    first, *rest = name.split("-")
    return first + "".join(part.capitalize() for part in rest)


def templates_of(root: Path, file: str) -> Iterator[str]:
    """List a template of Azure Pipelines and all that it includes."""
    yield file
    for found in re.findall(r"template: (\S+)", (root / file).read_text(encoding="utf-8")):
        yield from templates_of(root, str((root / file).parent.joinpath(found).resolve().relative_to(root.resolve())))


def commands_in(root: Path, files: list[str]) -> list[str]:
    return [verb for script in scripts_of(root, files) for verb, _ in _COMMAND.findall(script.text)]


@pytest.mark.parametrize("name", PIPELINES)
def test_both_systems_take_the_same_inputs_with_the_same_defaults(root: Path, name: str) -> None:
    inputs = read(root / f".github/workflows/llmops-{name}.yml")[True]["workflow_call"]["inputs"]
    ours = {camel(key): about.get("default") for key, about in inputs.items() if camel(key) not in GITHUB_ALONE}
    parameters = read(root / f"azure-pipelines/{name}.yml")["parameters"]
    theirs = {one["name"]: one.get("default") for one in parameters if one["name"] not in AZURE_ALONE}
    assert ours == theirs


@pytest.mark.parametrize("name", PIPELINES)
def test_both_systems_run_the_same_commands_in_the_same_order(root: Path, name: str) -> None:
    theirs = commands_in(root, list(dict.fromkeys(templates_of(root, f"azure-pipelines/{name}.yml"))))
    ours = commands_in(root, [f".github/workflows/llmops-{name}.yml"])
    assert ours == theirs != []


def test_every_command_and_option_in_a_pipeline_is_one_of_the_driver(root: Path) -> None:
    known = parsers()
    for script in scripts_of(root, [*github_files(root), *azure_files(root)]):
        for verb, rest in _COMMAND.findall(script.text):
            options = {option for action in known[verb]._actions for option in action.option_strings}
            assert set(re.findall(r"(?<!\S)--[a-z-]+", rest)) <= options, script


def test_every_variable_that_a_pipeline_sets_is_one_of_the_driver(root: Path) -> None:
    flags = {flag for parser in parsers().values() for action in parser._actions for flag in action.option_strings}
    known = {f"LLMOPS_{flag[2:].replace('-', '_').upper()}" for flag in flags if flag.startswith("--")}
    files = [*github_files(root), *azure_files(root)]
    used = {name for file in files for name in _VARIABLE.findall((root / file).read_text(encoding="utf-8"))}
    assert used <= known


@pytest.mark.parametrize("page", [*PIPELINES])
def test_the_callers_in_the_pages_have_at_most_fifteen_lines_and_fit_the_templates(root: Path, page: str) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (root / f"docs/ci/{page}.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        assert len(block.splitlines()) <= 15
        caller = yaml.safe_load(block)
        for job in caller.get("jobs", {}).values():
            called = read(root / job["uses"].partition("/llmops/")[2].partition("@")[0])
            assert set(job.get("with", {})) <= set(called[True]["workflow_call"]["inputs"])
            asked: set[str] = set().union(*(one["permissions"] for one in called["jobs"].values()))
            assert set(job["permissions"]) == asked
        if "extends" in caller:
            entry = read(root / caller["extends"]["template"].partition("@")[0])
            needed = {one["name"] for one in entry["parameters"] if "default" not in one}
            given = set(caller["extends"].get("parameters", {}))
            assert needed <= given <= {one["name"] for one in entry["parameters"]}
