"""llmops and promptflow's own batch run agree on the example: every output of every row, and every metric."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmops.engine.standin.process import StandInProcess
from tests.environments import Workshop, copy_example
from tests.parity.batch import run_promptflow

# One group: promptflow runs once, not once in each of the parallel workers.
pytestmark = [pytest.mark.slow, pytest.mark.registry, pytest.mark.xdist_group("parity")]

EVALUATION = {"groundtruth": "${data.answer}", "prediction": "${run.outputs.category}"}


@pytest.fixture(scope="module")
def project(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example."""
    return copy_example(root, tmp_path_factory.mktemp("example"))


@pytest.fixture(scope="module")
def theirs(project: Path, workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What promptflow says."""
    python = workshop.cached("promptflow", "requirements/promptflow.txt")
    with StandInProcess() as model:
        request = {
            "base_url": model.base_url,
            "flow": str(project / "flows" / "web-classification"),
            "data": str(project / "data" / "web-classification" / "smoke.jsonl"),
            "column_mapping": {"url": "${data.url}"},
            "evaluation": {
                "flow": str(project / "flows" / "eval-classification-accuracy"),
                "column_mapping": EVALUATION,
            },
        }
        return run_promptflow(python, tmp_path_factory.mktemp("promptflow"), request)


@pytest.fixture(scope="module")
def our_run(project: Path) -> Any:
    """The run record, by `llmops run`."""
    return llmops(project, "run", "web-classification", "--dataset", "smoke")


@pytest.fixture(scope="module")
def our_evaluation(project: Path, our_run: Any) -> Any:
    """The evaluation record, by `llmops evaluate`."""
    return llmops(project, "evaluate", our_run["id"])


def llmops(project: Path, *arguments: str) -> Any:
    """Run a command of the driver and read the record that it prints."""
    command = [sys.executable, "-m", "llmops", *arguments, "--json"]
    done = subprocess.run(command, cwd=project, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_row_has_the_same_outputs(project: Path, our_run: Any, theirs: Any) -> None:
    stored = (project / ".llmops" / "runs" / our_run["id"] / "lines.jsonl").read_text(encoding="utf-8")
    ours = {line["row"]: line["outputs"] for line in map(json.loads, stored.splitlines())}
    assert len(ours) == 20
    assert ours == {line["row"]: line["outputs"] for line in theirs["run"]["lines"]}


def test_every_metric_that_promptflow_logs_is_reported_with_its_value(our_evaluation: Any, theirs: Any) -> None:
    ours = {metric["name"]: metric["reported"] for metric in our_evaluation["metrics"]}
    logged = theirs["evaluation"]["metrics"]
    assert logged["accuracy"] > 0
    assert {name: ours.get(name) for name in logged} == pytest.approx(logged)


def test_the_value_that_is_gated_is_the_one_that_promptflow_logs(our_evaluation: Any, theirs: Any) -> None:
    (accuracy,) = (metric for metric in our_evaluation["metrics"] if metric["name"] == "accuracy")
    assert accuracy["value"] == pytest.approx(theirs["evaluation"]["metrics"]["accuracy"])


def test_every_row_has_the_same_grade(project: Path, our_evaluation: Any, theirs: Any) -> None:
    stored = (project / ".llmops" / "evaluations" / our_evaluation["id"] / "rows.jsonl").read_text(encoding="utf-8")
    ours = {row["row"]: row["outputs"]["accuracy"] for row in map(json.loads, stored.splitlines())}
    assert ours == {line["row"]: line["outputs"] for line in theirs["evaluation"]["lines"]}
