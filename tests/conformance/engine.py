"""Run the corpus on our engine: the configuration, the preparation and the local backend that `llmops run` uses."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from llmops.backends.registry import open_runs
from llmops.commands.preparation import prepare, run_request
from llmops.config.layers import Options, layer
from llmops.config.load import load_project
from llmops.errors import LlmopsError
from llmops.records import RunRecord
from tests.conformance.corpus import FLOWS, Case

AT_ONCE = 4
SWITCHED = Path(__file__).with_name("switched.py")


class Silence:
    """Progress that nobody watches."""

    def update(self, label: str, *, done: int, total: int, failed: int = 0, unmeasured: int = 0) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Do nothing."""


def connections(address: str) -> dict[str, Any]:
    """Return the connections of the corpus, as an environment file has them."""
    return {
        "open_ai_connection": {"type": "open_ai", "api_key": "${env:KEY}", "base_url": f"{address}/first"},
        "second_connection": {"type": "open_ai", "api_key": "${env:KEY}", "base_url": f"{address}/second"},
        "custom_connection": {"type": "custom", "configs": {"region": "north"}, "secrets": {"token": "${env:KEY}"}},
        "other_custom_connection": {
            "type": "custom",
            "configs": {"region": "south"},
            "secrets": {"token": "${env:OTHER_KEY}"},
        },
    }


ENV = {"KEY": "abc", "OTHER_KEY": "defgh"}


def make_project(root: Path, cases: Sequence[Case], address: str, *, switched: bool = False) -> Path:
    """Write a project with one experiment per case; `switched` takes each case's feature away from the engine."""
    shutil.copytree(FLOWS, root / "flows", symlinks=True, ignore=shutil.ignore_patterns("__pycache__", ".promptflow"))
    write(root / "config/environments/local.yaml", {"backend": "local", "connections": connections(address)})
    for case in cases:
        write(root / f"config/experiments/{case.name}.yaml", _experiment(root, case, switched=switched))
    return root


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(value), "utf-8")


def _experiment(root: Path, case: Case, *, switched: bool) -> dict[str, Any]:
    fields = ("column_mapping", "variants", "nodes", "environment_variables", "init")
    settings = {name: value for name in fields if (value := getattr(case, name))}
    if switched:
        settings["python"] = str(_switched_python(root / "pythons" / case.name, case.off))
    return {"flow": case.flow, "datasets": {"rows": {"path": case.data}}, **settings}


def _switched_python(path: Path, off: Sequence[str]) -> Path:
    path.parent.mkdir(exist_ok=True)
    switch = path.with_suffix(".json")
    switch.write_text(json.dumps(off), "utf-8")
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {SWITCHED} "$1" "$(cat {switch})"\n', "utf-8")
    path.chmod(0o755)
    return path


def run_ours(root: Path, cases: Sequence[Case]) -> dict[str, Any]:
    """Run cases; returns name to `{"lines", "metrics"}`, or to `{"error"}` for a flow that does not load."""
    project = load_project(root)
    results: dict[str, Any] = {}
    environment = project.environments["local"]
    with open_runs(environment, project.state, ENV, print) as runs:
        for start in range(0, len(cases), AT_ONCE):
            requests = []
            for case in cases[start : start + AT_ONCE]:
                prepared = prepare(project, layer(project, case.name, env=ENV, flags=Options()), ENV)
                requests.append(run_request(prepared, prepared.flow, label=case.name, is_required=False))
            for request, outcome in zip(requests, runs.run(requests, Silence()), strict=True):
                results[request.label] = _result(outcome, runs)
    return results


def _result(outcome: RunRecord | LlmopsError, runs: Any) -> Mapping[str, Any]:
    if isinstance(outcome, LlmopsError):
        return {"error": str(outcome)}
    lines = [{"row": line.row, "outputs": line.outputs} for line in runs.lines(outcome)]
    return {"lines": lines, "metrics": outcome.metrics}
