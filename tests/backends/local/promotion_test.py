"""From one environment to the next on real processes, while clients never stop asking."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmops.backends.local.endpoints import LocalEndpoints
from llmops.config.model import Environment
from tests.backends.local.load import Load
from tests.projects import TinyProject, make_project

pytestmark = pytest.mark.slow

ENVIRONMENT = """\
backend: local
requires: {verdict: false}
rollout:
  steps: [{percent: 20, bake_s: 2}, {percent: 60, bake_s: 2}]
  bake_s: 1
  evaluate: false
  checks: {max_error_rate: 0}
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[TinyProject]:
    """A project whose first version serves in dev and in prod."""
    made = make_project(tmp_path)
    for name in ("dev", "prod"):
        made.write(f"config/environments/{name}.yaml", ENVIRONMENT)
    try:
        release(made, "")
        yield made
    finally:
        for name in ("tiny-dev", "tiny-prod"):
            made.run("endpoint", "stop", name)


def release(project: TinyProject, text: str) -> None:
    """Register the flow with some more text, deploy it to dev and promote it to prod."""
    path = project.root / "flows/answer/answer.py"
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")
    for command in (
        ("register", "tiny", "--environment", "dev", "--without-verdict", "a test"),
        ("deploy", "tiny", "--environment", "dev", "--strategy", "immediate"),
        ("promote", "tiny", "--from", "dev", "--to", "prod"),
    ):
        answer = project.run(*command)
        assert answer.code == 0, answer.err


def test_no_request_fails_through_promotions_and_a_rollback(project: TinyProject) -> None:
    endpoints = LocalEndpoints(project.root / ".llmops/endpoints", Environment(name="prod"), {})
    with Load(endpoints, "tiny-prod", connections=6) as load:
        release(project, "# second\n")
        rolled_back = project.run("rollback", "tiny", "--environment", "prod", "--json")
        assert rolled_back.code == 0, rolled_back.err
        release(project, "# third\n")
    assert json.loads(rolled_back.out)["version"] == "1"
    assert load.statuses == {200}
    assert {name[:2] for name in load.deployments} == {"v1", "v2", "v3"}
