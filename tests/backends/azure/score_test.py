"""The scoring script of plain Python flows, run as Azure's server runs it: `init` once, then `run`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmops.backends.azure.scoring_code import files, variables
from llmops.backends.azure.staging import stage
from tests.backends.packages import greeter_flow, package, plain_flow

ASK = 'import json, score; score.init(); print(json.dumps(score.run(\'{"question": "Ana"}\')))'


def answer_of(tmp_path: Path, flow: Path, source: str, **overlay: Any) -> Any:
    """Stage a flow as a model and ask the script for one answer."""
    manifest = package(flow, tmp_path / "package", source=source, **overlay)
    stage(tmp_path / "package", manifest, tmp_path / "models/model")
    for name, content in files().items():
        (tmp_path / "code" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "code" / name).write_bytes(content)
    env = {**os.environ, **variables("model"), "AZUREML_MODEL_DIR": str(tmp_path / "models")}
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=tmp_path / "code", env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("source", ["flows/plain/main.py:answer", "flows.plain.main:answer"])
def test_a_function_is_found_by_its_file_and_by_its_module(tmp_path: Path, source: str) -> None:
    assert answer_of(tmp_path, plain_flow(tmp_path), source) == {"answer": "one Ana"}


def test_a_class_gets_the_arguments_that_it_was_judged_with(tmp_path: Path) -> None:
    found = answer_of(tmp_path, greeter_flow(tmp_path), "flows/greeter/main.py:Greeter", init={"greeting": "Hello"})
    assert found["answer"] == "Hello Ana"
