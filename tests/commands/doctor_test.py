from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmops.commands.doctor import find_bad_combinations
from tests.flows.repository import IDENTITY, Repository
from tests.projects import TinyProject, make_project

KEY = "not-a-real-key"


@pytest.fixture
def project(tmp_path: Path) -> TinyProject:
    return make_project(tmp_path)


@pytest.fixture
def service() -> Iterator[str]:
    """A model service on the loopback that takes one key."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_known = self.headers["Authorization"] == f"Bearer {KEY}"
            self.send_response(200 if is_known else 401)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the base class names it so
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def connect(project: TinyProject, address: str) -> None:
    text = f"connections: {{model: {{type: open_ai, api_key: '${{env:MODEL_KEY}}', base_url: '{address}'}}}}\n"
    project.write("config/environments/local.yaml", text)


def levels(project: TinyProject, *arguments: str, env: dict[str, str] | None = None) -> dict[str, str]:
    answer = project.run("doctor", "--json", *arguments, env=env)
    return {item["name"]: item["level"] for item in json.loads(answer.out)["checks"]}


def test_a_sound_project_has_no_error_and_a_line_for_each_look(project: TinyProject) -> None:
    answer = project.run("doctor")
    assert answer.code == 0, answer.out
    assert "ok       configuration: 1 experiments, 1 environments" in answer.out
    assert "git: no baseline: no pull request and no origin/HEAD to compare with" in answer.out
    assert "ERROR" not in answer.out


def test_a_key_that_is_not_set_is_an_error_with_its_variable(project: TinyProject) -> None:
    connect(project, "http://127.0.0.1:9/v1")
    answer = project.run("doctor")
    assert answer.code == 2
    assert "ERROR    local: connection model: the environment variable MODEL_KEY is not set" in answer.out


def test_a_service_that_answers_and_takes_the_key_is_ok_and_the_key_is_not_shown(
    project: TinyProject, service: str
) -> None:
    connect(project, service)
    answer = project.run("doctor", env={"MODEL_KEY": KEY})
    assert answer.code == 0
    assert "ok       local: connection model: open_ai: answers and takes the key" in answer.out
    assert KEY not in answer.out + answer.err


def test_a_refused_key_and_a_silent_service_are_refusals(project: TinyProject, service: str) -> None:
    connect(project, service)
    refused = project.run("doctor", env={"MODEL_KEY": "another"})
    assert (refused.code, "the model service refuses the key" in refused.out) == (4, True)
    connect(project, "http://127.0.0.1:9/v1")
    silent = project.run("doctor", env={"MODEL_KEY": KEY})
    assert (silent.code, "the model service cannot be reached" in silent.out) == (4, True)
    assert project.run("doctor", "--offline", env={"MODEL_KEY": KEY}).code == 0


def test_only_the_named_environment_is_looked_at(project: TinyProject) -> None:
    project.write("config/environments/dev.yaml", "connections: {other: {type: stand_in}}\n")
    connect(project, "http://127.0.0.1:9/v1")
    assert "local: connection model" not in levels(project, "--environment", "dev")
    assert levels(project, "--environment", "dev")["dev: connection other"] == "ok"
    answer = project.run("doctor", "--environment", "prod")
    assert (answer.code, answer.err.splitlines()[0]) == (2, "error: --environment: no environment 'prod'")


def test_a_broken_configuration_is_one_line_and_the_rest_is_still_told(project: TinyProject) -> None:
    project.write("config/experiments/tiny.yaml", "flows: x\n")
    found = levels(project)
    assert (found["configuration"], found["python"]) == ("error", "ok")


def test_a_shallow_clone_and_a_missing_login_are_warnings(project: TinyProject, tmp_path: Path) -> None:
    project.write("config/environments/dev.yaml", "backend: azure\n")
    project.commit()
    clone = tmp_path / "clone"
    Repository(root=tmp_path).git("clone", "-q", "--depth=1", f"file://{project.root}", str(clone))
    answer = TinyProject(clone).run("doctor", "--offline", env=dict(IDENTITY))
    assert "warning  git: a shallow clone, which may not hold the merge base" in answer.out
    assert "warning  dev: Azure: whether anyone is logged in is not known" in answer.out


@pytest.mark.parametrize(
    ("versions", "found"),
    [
        ({"promptflow-core": "1.18.5", "openai": "1.50.0"}, []),
        ({"promptflow": "1.17.0", "promptflow-core": "1.18.5"}, ["are of different versions"]),
        ({"promptflow-core": "1.16.2"}, ["not one that llmops knows"]),
        ({"openai": "0.28.1"}, ["older than 1.0"]),
        ({"promptflow-azure": "1.18.5"}, ["without azure-ai-ml"]),
        ({"azure-ai-ml": "1.20.0"}, ["works together"]),
    ],
)
def test_combinations_that_are_known_not_to_work_are_told(versions: dict[str, str], found: list[str]) -> None:
    checks = find_bad_combinations(versions)
    assert len(checks) == len(found)
    assert all(part in check.found and check.fix for part, check in zip(found, checks, strict=True))
