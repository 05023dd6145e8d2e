"""The whole way, with nothing but the command line: the same script on Azure and on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmops.emulator.emulator import Emulator
from tests.azure.conftest import unique
from tests.azure.workbench import Workbench, make_workbench
from tests.projects import Answer

DELIVERY = """\
endpoint: {endpoint}
requires: {{verdict: {verdict}}}
rollout: {{steps: [{{percent: 50, bake_s: 0}}], bake_s: 0, lease_s: 10}}
"""
FLOW, TURNS = "flows/answer/answer.py", "return question[::-1]"


class Journey:
    """One project with the environments `dev` and `prod`."""

    def __init__(self, bench: Workbench, backend: str) -> None:
        self.bench = bench
        self.endpoints: list[str] = []
        self.flow = (bench.root / FLOW).read_text(encoding="utf-8")
        for name, verdict in (("dev", "false"), ("prod", "true")):
            self.endpoints.append(unique(f"journey-{name}"))
            more = DELIVERY.format(endpoint=self.endpoints[-1], verdict=verdict)
            if backend == "azure":
                bench.environment(name, workspace=unique(f"journey-{name}"), more=more)
            else:
                bench.write(f"config/environments/{name}.yaml", f"backend: local\n{more}")

    def run(self, *arguments: str, code: int = 0) -> Answer:
        answer = self.bench.call(*arguments)
        assert answer.code == code, (arguments, answer.out, answer.err)
        return answer

    def change(self, answer: str) -> None:
        """Give the flow another way to answer."""
        self.bench.write(FLOW, self.flow.replace(TURNS, answer))
        self.bench.commit(answer)

    def serves(self, environment: str) -> dict[str, int]:
        status: dict[str, Any] = json.loads(self.run("status", "tiny", "--environment", environment, "--json").out)
        return _shares(status)


def _shares(status: Any) -> dict[str, int]:
    """Find version and percent of what serves, wherever the document has them."""
    found: dict[str, int] = {}
    if isinstance(status, dict):
        if status.get("percent") and "version" in status:
            found[str(status["version"])] = int(status["percent"])
        for value in status.values():
            found |= _shares(value)
    if isinstance(status, list):
        for value in status:
            found |= _shares(value)
    return found


@pytest.fixture(params=["azure", "local"])
def journey(request: pytest.FixtureRequest, emulator: Emulator, tmp_path: Path) -> Iterator[Journey]:
    del emulator
    made = Journey(make_workbench(tmp_path, unique("journey")), request.param)
    yield made
    if request.param == "local":
        for name in made.endpoints:
            made.bench.call("endpoint", "stop", name)


def test_from_an_empty_workspace_to_production_and_back(journey: Journey) -> None:
    journey.run("check", "tiny", "--environment", "dev")
    journey.run("register", "tiny", "--environment", "dev")
    journey.run("deploy", "tiny", "--environment", "dev")
    assert journey.serves("dev") == {"1": 100}
    journey.run("promote", "tiny", "--from", "dev", "--to", "prod", "--approved-by", "ana")
    assert journey.serves("prod") == {"1": 100}

    journey.change("return 'nonsense'")
    journey.run("check", "tiny", "--environment", "dev", code=10)
    journey.run("register", "tiny", "--environment", "dev", "--without-verdict", "planted")
    turned_back = journey.run("deploy", "tiny", "--environment", "dev", code=10)
    assert "turned back" in turned_back.out
    assert journey.serves("dev") == {"1": 100}

    journey.change(f"{TURNS}  # as good")
    journey.run("check", "tiny", "--environment", "dev")
    journey.run("register", "tiny", "--environment", "dev")
    journey.run("deploy", "tiny", "--environment", "dev")
    assert journey.serves("dev") == {"3": 100}
    journey.run("rollback", "tiny", "--environment", "dev")
    assert journey.serves("dev") == {"1": 100}
    journey.run("evaluate", "--scheduled", "tiny", "--environment", "prod")
