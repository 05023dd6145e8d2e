"""`llmops endpoint` and `llmops invoke` on an endpoint that really serves."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends.packages import PLAIN
from tests.projects import TinyProject, make_project, make_wheel, wait_for

NAME = "tiny-local"
PROXIES = {"http_proxy", "https_proxy", "all_proxy"}
ENVIRONMENT = """\
backend: local
requires: {verdict: false}
rollout: {strategy: immediate, evaluate: false}
serving: {request_timeout_s: 6}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyProject]:
    """A plain function, deployed."""
    made = make_project(tmp_path_factory.mktemp("project"))
    made.write("config/environments/local.yaml", ENVIRONMENT)
    made.write("plain/main.py", PLAIN.replace("VERSION", "it is "))
    made.replace("config/experiments/tiny.yaml", "flow: flows/answer", "flow: plain/main.py:answer")
    try:
        for command in (("register", "tiny", "--without-verdict", "a test"), ("deploy", "tiny")):
            answer = made.run(*command)
            assert answer.code == 0, answer.err
        yield made
    finally:
        made.run("endpoint", "stop", NAME)


def status(project: TinyProject) -> dict[str, Any]:
    (found,) = json.loads(project.run("endpoint", "status", NAME, "--json").out)["endpoints"]
    return dict(found)


def test_status_says_where_it_listens_and_how_each_deployment_is(project: TinyProject) -> None:
    answer = project.run("endpoint", "status")
    assert answer.out.startswith(f"{NAME} (local): http://127.0.0.1:")
    assert "  100 %  v1-" in answer.out
    assert "tiny version 1  healthy" in answer.out


def test_an_endpoint_that_is_stopped_starts_again_at_its_address_with_what_it_served(project: TinyProject) -> None:
    address = status(project)["address"]
    assert project.run("endpoint", "stop", NAME).out == f"{NAME} is stopped\n"
    assert project.run("endpoint", "stop", NAME).out == f"{NAME} was not running\n"
    assert (status(project)["address"], status(project)["pid"]) == ("", None)
    assert project.run("endpoint", "start", NAME).out == f"{NAME} serves at {address}/score\n"
    wait_for(lambda: all(one["status"] == "healthy" for one in status(project)["deployments"].values()))


def test_a_key_is_replaced_and_the_other_one_stays(project: TinyProject) -> None:
    before = json.loads(project.run("endpoint", "keys", NAME, "--json").out)
    after = json.loads(project.run("endpoint", "keys", NAME, "--rotate", "secondary", "--json").out)
    assert before["primary"] == after["primary"]
    assert before["secondary"] != after["secondary"]


def test_inputs_come_from_a_file_and_from_arguments_which_win(project: TinyProject) -> None:
    file = project.write("inputs.json", '{"question": "from the file"}')
    answer = project.run("invoke", "tiny", "--file", str(file))
    assert json.loads(answer.out) == {"answer": "it is from the file"}
    answer = project.run("invoke", "tiny", "--file", str(file), "--input", "question=given", "--json")
    assert json.loads(answer.out)["outputs"] == {"answer": "it is given"}
    assert json.loads(answer.out)["deployment"].startswith("v1-")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--input", "question=raise:no way"], 4, "HTTP 500"),
        (["--input", "question=sleep:600"], 5, "HTTP 504"),
        (["--input", "nothing=1"], 4, "missing inputs: question"),
        (["--input", "question=x", "--deployment", "nobody"], 4, "no deployment 'nobody'"),
        (["--input", "question"], 2, "expected NAME=VALUE"),
        (["--file", "nowhere.json"], 2, "the inputs cannot be read"),
    ],
)
def test_an_answer_that_is_none_has_the_exit_code_of_its_reason(
    project: TinyProject, arguments: list[str], code: int, said: str
) -> None:
    answer = project.run("invoke", "tiny", *arguments)
    assert (answer.code, said in answer.err) == (code, True), answer.err


def test_logs_show_what_a_deployment_wrote_and_what_became_of_requests(project: TinyProject) -> None:
    project.run("invoke", "tiny", "--input", "question=raise:a reason")
    (deployment,) = status(project)["deployments"]
    written = project.run("endpoint", "logs", NAME, "--deployment", deployment)
    assert "ValueError: a reason" in written.out
    requests = project.run("endpoint", "logs", NAME, "--requests", "--lines", "1")
    assert f"{deployment} live 500" in requests.out
    assert project.run("endpoint", "logs", NAME, "--deployment", "nobody").code == 2


def test_an_endpoint_that_does_not_exist_is_said_with_those_that_do(project: TinyProject) -> None:
    answer = project.run("endpoint", "keys", "other")
    assert answer.code == 2
    assert "no endpoint 'other'" in answer.err
    assert f"'{NAME}'" in answer.err
    assert project.run("endpoint", "start").code == 2


@pytest.mark.registry
def test_a_flow_with_a_python_of_its_own_serves_from_what_was_locked(
    tmp_path: Path, open_environment: dict[str, str]
) -> None:
    project = make_project(tmp_path)
    project.write("config/environments/local.yaml", ENVIRONMENT)
    wheel = make_wheel(tmp_path / "own", "7.0")
    project.write("own/requirements.txt", f"./{wheel}\n")
    project.write("own/main.py", "import greeting\n\ndef answer(question):\n    return {'answer': greeting.VERSION}\n")
    project.replace("config/experiments/tiny.yaml", "flow: flows/answer", "flow: own/main.py:answer\npython: auto")
    env = {name: "" for name in os.environ if name.lower() in PROXIES} | open_environment
    try:
        for command in (("register", "tiny", "--without-verdict", "a test"), ("deploy", "tiny")):
            done = project.run(*command, env=env)
            assert done.code == 0, done.err
        assert json.loads(project.run("invoke", "tiny", "--input", "question=x").out) == {"answer": "7.0"}
    finally:
        project.run("endpoint", "stop", NAME)
