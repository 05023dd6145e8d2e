"""A project in a temporary folder that tests spoil."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

EXPERIMENT = """\
flow: flows/qa
datasets:
  smoke: {path: data/smoke.jsonl}
  full: {path: data/full.csv}
evaluators:
  accuracy:
    flow: flows/grade
    column_mapping:
      answer: ${run.outputs.answer}
gate:
  thresholds:
    - metric: accuracy.score
      min: 0.8
"""

ENVIRONMENT = """\
connections:
  model: {type: stand_in}
"""

WriteFile = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> WriteFile:
    """Write a file of the project, by its path relative to the root; returns the root."""

    def write_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return tmp_path

    return write_file


@pytest.fixture
def root(write: WriteFile) -> Path:
    """A valid project with one experiment, `qa`, and one environment, `local`."""
    write("flows/qa/flow.dag.yaml", "")
    write("flows/grade/flow.dag.yaml", "")
    write("data/smoke.jsonl", '{"question": "1 + 1?"}\n')
    write("data/full.csv", "question\n1 + 1?\n")
    write("config/experiments/qa.yaml", EXPERIMENT)
    return write("config/environments/local.yaml", ENVIRONMENT)
