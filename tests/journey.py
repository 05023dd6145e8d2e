"""A version's whole life, as a user types it: the same commands on every backend, for only the environments' files differ."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.projects import Answer, TinyProject

ENVIRONMENT = """\
backend: BACKEND
endpoint: ENDPOINT
requires: {verdict: VERDICT}
rollout: {strategy: canary, steps: [{percent: 50, bake_s: 0}], bake_s: 0, probe_rows: 1}
"""
GOOD, BAD = "return question[::-1]", "return question"


@dataclass(frozen=True)
class Journey:
    """One project with the environments `dev` and `prod`.

    Attributes:
        call: runs one command of llmops in the project.
    """

    project: TinyProject
    call: Callable[..., Answer]

    def do(self, *arguments: str, code: int = 0) -> Answer:
        """Run a command that must end with a code."""
        answer = self.call(*arguments)
        assert answer.code == code, (arguments, answer.out, answer.err)
        return answer

    def ask(self, environment: str) -> Any:
        """Return what an environment's endpoint answers to `abc`."""
        answer = self.do("invoke", "tiny", "--environment", environment, "--input", "question=abc", "--json")
        return json.loads(answer.out)["outputs"]["answer"]

    def write_flow(self, *, last: str, comment: str = "") -> None:
        """Change what the flow returns, and commit that."""
        path = self.project.root / "flows/answer/answer.py"
        text = path.read_text(encoding="utf-8")
        head = text.rpartition("    return ")[0]
        path.write_text(f"{head}    {last}{comment}\n", encoding="utf-8")
        self.project.commit("change the flow")


def environment(*, backend: str, endpoint: str, verdict: bool, more: str = "") -> str:
    """Write an environment file."""
    text = ENVIRONMENT.replace("BACKEND", backend).replace("ENDPOINT", endpoint)
    return text.replace("VERDICT", str(verdict).lower()) + more


def walk(journey: Journey) -> None:
    """From nothing to production, a bad version that is caught, and back."""
    journey.do("check", "tiny", "--environment", "dev", "--baseline", "none")
    journey.do("register", "tiny", "--environment", "dev")
    journey.do("deploy", "tiny", "--environment", "dev")
    journey.do("evaluate", "--scheduled", "tiny", "--environment", "dev", "--dry-run")
    journey.do("promote", "tiny", "--from", "dev", "--to", "prod")
    assert journey.ask("prod") == "cba"

    journey.write_flow(last=BAD)
    journey.do("check", "tiny", "--environment", "dev", "--baseline", "none", code=10)
    journey.do("register", "tiny", "--environment", "dev", "--without-verdict", "planted")
    journey.do("deploy", "tiny", "--environment", "dev", code=10)
    assert journey.ask("dev") == "cba"

    journey.write_flow(last=GOOD, comment="  # the same, said again")
    journey.do("check", "tiny", "--environment", "dev", "--baseline", "none")
    journey.do("register", "tiny", "--environment", "dev")
    journey.do("deploy", "tiny", "--environment", "dev")
    journey.do("rollback", "tiny", "--environment", "dev", "--reason", "we changed our minds")
    assert journey.ask("dev") == "cba"
    serves = {name: _serving(journey, name) for name in ("dev", "prod")}
    assert serves == {"dev": {"1": 100}, "prod": {"1": 100}}
    journey.do("evaluate", "--scheduled", "tiny", "--environment", "prod", "--dry-run")


def _serving(journey: Journey, name: str) -> dict[str, int]:
    """Return the versions that have traffic in an environment, with their percents."""
    (found,) = json.loads(journey.do("status", "tiny", "--environment", name, "--json").out)["places"]
    return {entry["version"]: entry["percent"] for entry in found["serving"]}
