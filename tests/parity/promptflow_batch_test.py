"""The harness itself: promptflow's batch run over two tiny flows gives what they say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.environments import Workshop
from tests.parity.batch import run_promptflow

ROWS = [{"word": "a", "loud": "A"}, {"word": "b", "loud": "X"}, {"word": "", "loud": ""}, {"word": "c", "loud": "C"}]


@pytest.fixture
def request_of_tiny_flows(tmp_path: Path) -> dict[str, Any]:
    """A flow, data of which one line fails and one is wrong, and an evaluation flow."""
    flows = tmp_path / "flows"
    shutil.copytree(Path(__file__).parent / "flows", flows)
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    mapping = {"expected": "${data.loud}", "found": "${run.outputs.loud}"}
    return {
        "flow": str(flows / "shout"),
        "data": str(data),
        "column_mapping": {"word": "${data.word}"},
        "evaluation": {"flow": str(flows / "score"), "column_mapping": mapping},
    }


@pytest.mark.slow
@pytest.mark.registry
def test_promptflow_reports_outputs_failures_and_metrics(
    workshop: Workshop, tmp_path: Path, request_of_tiny_flows: dict[str, Any]
) -> None:
    python = workshop.cached("promptflow", "requirements/promptflow.txt")
    answer = run_promptflow(python, tmp_path, request_of_tiny_flows)
    assert [line["outputs"] for line in answer["run"]["lines"]] == [{"loud": "A"}, {"loud": "B"}, None, {"loud": "C"}]
    assert [line["row"] for line in answer["evaluation"]["lines"]] == [0, 1, 3]
    assert answer["evaluation"]["metrics"] == {"accuracy": pytest.approx(2 / 3)}
