"""`llmops run`, `evaluate`, `runs` and `check` with their runs in a workspace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmops.emulator.emulator import Emulator
from tests.azure.conftest import Requests, unique
from tests.azure.workbench import Workbench, make_workbench


@pytest.fixture
def bench(emulator: Emulator, tmp_path: Path) -> Workbench:
    del emulator
    bench = make_workbench(tmp_path / "project", unique("bench"))
    bench.rows("one", "two", "three")
    return bench


def submissions(requests: Requests) -> list[dict[str, object]]:
    """Return what was submitted, as the service got it."""
    return [json.loads(entry.body) for entry in requests.all("POST", "BulkRuns/submit")]


def test_a_run_is_submitted_watched_and_fetched(bench: Workbench, requests: Requests) -> None:
    record = bench.json("run", "tiny", "--environment", "dev")
    assert (record["completed"], record["failed"], record["unmeasured"]) == (3, 0, 0)
    assert record["link"].startswith("https://ml.azure.com/")
    lines = bench.call("runs", "export", record["id"]).out.splitlines()
    assert [json.loads(line)["outputs"]["answer"] for line in lines] == ["eno", "owt", "eerht"]
    (sent,) = submissions(requests)
    assert sent["batchDataInput"] == {"dataUri": f"azureml:llmops-rows:{record['dataset']['digest'][7:23]}"}
