"""Run the corpus on our engine: the configuration, the preparation and the local backend that `llmops run` uses."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from llmops.backends.protocols import RunRequest
from llmops.backends.registry import open_runs
from llmops.commands.preparation import prepare
from llmops.commands.run_requests import run_request
from llmops.config.layers import Options, layer
from llmops.config.load import load_project
from llmops.errors import LlmopsError
from llmops.records import FlowRef, RunRecord
from tests.commands.calls import Silence
from tests.conformance.corpus import FLOWS, Case

AT_ONCE = 6
SWITCHED = Path(__file__).with_name("switched.py")
PYTHON = "switched-python"


def connections(address: str) -> dict[str, Any]:
    """Return the connections of the corpus, as an environment file has them."""
    return {
        "open_ai_connection": {"type": "open_ai", "api_key": "${env:KEY}", "base_url": f"{address}/first"},
        "second_connection": {"type": "open_ai", "api_key": "${env:KEY}", "base_url": f"{address}/second"},
        "azure_connection": {
            "type": "azure_open_ai",
            "api_key": "${env:KEY}",
            "api_base": f"{address}/azure",
            "api_version": "2024-10-21",
        },
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
    python = root / PYTHON
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {SWITCHED} "$@"\n', "utf-8")
    python.chmod(0o755)
    for case in cases:
        write(root / f"config/experiments/{case.name}.yaml", _experiment(root, case, switched=switched))
    return root


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(value), "utf-8")


def _experiment(root: Path, case: Case, *, switched: bool) -> dict[str, Any]:
    fields = ("column_mapping", "variants", "nodes", "environment_variables", "init")
    settings = {name: value for name in fields if (value := getattr(case, name))}
    if switched and case.off not in IN_THE_DRIVER:
        settings["python"] = str(root / PYTHON)
        settings["environment_variables"] = {**case.environment_variables, "LLMOPS_TEST_OFF": case.off}
    return {"flow": case.flow, "datasets": {"rows": {"path": case.data}}, **settings}


def _without_files(origin: str) -> Callable[[RunRequest], RunRequest]:
    """Leave out what a flow's folder does not hold itself."""

    def change(request: RunRequest) -> RunRequest:
        closure = request.source.closure
        files = {name: source for name, source in closure.files.items() if source.origin != origin}
        return replace(request, source=replace(request.source, closure=replace(closure, files=files)))

    return change


def _with_ref(request: RunRequest, ref: FlowRef) -> RunRequest:
    """Lay something else over the flow than the experiment says."""
    return replace(request, source=replace(request.source, ref=ref))


def _without_mapped_literals(request: RunRequest) -> RunRequest:
    kept = {name: value for name, value in request.column_mapping.items() if str(value).startswith("${")}
    return replace(request, column_mapping=kept)


IN_THE_DRIVER: Mapping[str, Callable[[RunRequest], RunRequest]] = {
    "includes": _without_files("included"),
    "links": _without_files("linked"),
    "variants": lambda request: _with_ref(request, replace(request.source.ref, variants={})),
    "init": lambda request: _with_ref(request, replace(request.source.ref, init={})),
    "column-mapping": lambda request: replace(request, column_mapping={}),
    "mapped-literals": _without_mapped_literals,
    "given-variables": lambda request: replace(request, environment_variables={}),
}
"""Features that are the driver's; the others are switched off in the worker, see `switched.py`."""


def run_ours(root: Path, cases: Sequence[Case], *, switched: bool = False) -> dict[str, Any]:
    """Run cases; returns name to `{"lines", "metrics"}`, or to `{"error"}` for a flow that does not load."""
    project = load_project(root)
    results: dict[str, Any] = {}
    environment = project.environments["local"]
    with open_runs(environment, project.state, ENV, print) as runs:
        for start in range(0, len(cases), AT_ONCE):
            requests = []
            for case in cases[start : start + AT_ONCE]:
                prepared = prepare(project, layer(project, case.name, env=ENV, flags=Options()), ENV)
                request = run_request(prepared, prepared.flow, label=case.name, is_required=False)
                requests.append(IN_THE_DRIVER[case.off](request) if switched and case.off in IN_THE_DRIVER else request)
            for request, outcome in zip(requests, runs.run(requests, Silence()), strict=True):
                results[request.label] = _result(outcome, runs)
    return results


def _result(outcome: RunRecord | LlmopsError, runs: Any) -> Mapping[str, Any]:
    if isinstance(outcome, LlmopsError):
        return {"error": str(outcome)}
    lines = [{"row": line.row, "outputs": line.outputs} for line in runs.lines(outcome)]
    return {"lines": lines, "metrics": outcome.metrics}
