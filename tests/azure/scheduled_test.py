"""What serves on Azure is evaluated on a schedule, through the endpoint itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmops.emulator.emulator import Emulator
from tests.azure.conftest import Requests, unique
from tests.azure.workbench import Workbench, make_workbench

ROWS = [f"question {number}" for number in range(6)]


@pytest.fixture
def bench(emulator: Emulator, tmp_path: Path) -> Workbench:
    """A version that serves in `dev`."""
    del emulator
    bench = make_workbench(tmp_path / "project", unique("scheduled"))
    bench.rows(*ROWS)
    bench.serving("dev", bench.workspace)
    bench.commit("environment")
    for command in ("register tiny --without-verdict test", "deploy tiny"):
        answer = bench.call(*command.split(), "--environment", "dev")
        assert answer.code == 0, answer.err
    return bench


def evaluate(bench: Workbench) -> tuple[int, dict[str, Any]]:
    """Evaluate what serves; return the exit code and what was found."""
    answer = bench.call("evaluate", "--scheduled", "tiny", "--environment", "dev", "--dry-run", "--json")
    return answer.code, json.loads(answer.out) if answer.out else {"error": answer.err}


def asked(requests: Requests) -> set[str]:
    """Return the questions that endpoints were asked."""
    return {json.loads(one.body)["question"] for one in requests.all("POST") if one.service == "scoring"}


def test_what_serves_is_judged_by_its_own_answers(bench: Workbench, requests: Requests) -> None:
    code, found = evaluate(bench)
    assert code == 0, found
    assert asked(requests) == set(ROWS)
    bench.rows(*ROWS, expected={ROWS[0]: "else", ROWS[1]: "else", ROWS[2]: "else"})
    bench.commit("the world has changed")
    code, found = evaluate(bench)
    assert code == 10, found
