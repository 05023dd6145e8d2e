"""Whole rollouts on real processes: the command line, the router, serving processes, and a client that never stops."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from llmops.backends.local.endpoints import LocalEndpoints
from llmops.backends.local.serving.router_process import find_router
from llmops.config.model import Environment
from tests.backends.local.load import Load
from tests.projects import Answer, TinyProject, is_running, kill, make_project, wait_for

pytestmark = pytest.mark.slow

NAME = "tiny-local"
ENVIRONMENT = """\
backend: local
requires: {verdict: false}
rollout:
  steps: [{percent: 30, bake_s: 8}]
  bake_s: 1
  checks: {max_error_rate: 0, max_latency_s: 3, max_wait_s: 6}
  lease_s: 10
serving: {request_timeout_s: 12}
"""
REVERSES = "return question[::-1]"


class Released:
    """A project whose first version serves on this machine."""

    def __init__(self, project: TinyProject) -> None:
        self.project = project
        self.flow = (project.root / "flows/answer/answer.py").read_text(encoding="utf-8")
        self.definition = (project.root / "flows/answer/flow.dag.yaml").read_text(encoding="utf-8")
        assert REVERSES in self.flow

    @property
    def endpoints(self) -> LocalEndpoints:
        return LocalEndpoints(self.project.root / ".llmops/endpoints", Environment(name="local"), {})

    def register(self, answer: str, *, output: str = "answer") -> None:
        """Register the flow with another way to answer, and another name for that."""
        self.project.write("flows/answer/answer.py", self.flow.replace(REVERSES, answer))
        self.project.write("flows/answer/flow.dag.yaml", self.definition.replace("answer: {type", f"{output}: {{type"))
        done = self.project.run("register", "tiny", "--without-verdict", "a test")
        assert done.code == 0, done.err

    def traffic(self) -> dict[str, int]:
        observed = self.endpoints.observe(NAME)
        assert observed is not None
        return {observed.deployments[name].version: percent for name, percent in observed.traffic.items()}

    def deploy(self) -> tuple[Answer, Mapping[str, Any]]:
        """Deploy the newest version; return the answer and the record."""
        answer = self.project.run("deploy", "tiny", "--json")
        return answer, json.loads(answer.out) if answer.out.startswith("{") else {}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Released]:
    project = make_project(tmp_path_factory.mktemp("project"))
    project.write("config/environments/local.yaml", ENVIRONMENT)
    made = Released(project)
    try:
        made.register(REVERSES)
        answer, _ = made.deploy()
        assert answer.code == 0, answer.err
        yield made
    finally:
        project.run("endpoint", "stop", NAME)


@pytest.fixture
def serving_first(released: Released) -> Iterator[Released]:
    """The first version has all traffic, before and after."""
    yield released
    if released.traffic() != {"1": 100}:
        assert released.project.run("rollback", "tiny", "--to", "1").code == 0


def test_no_request_fails_through_deploy_and_rollback(serving_first: Released) -> None:
    serving_first.register(f"{REVERSES}  # as good")
    with Load(serving_first.endpoints, NAME) as load:
        answer, record = serving_first.deploy()
        assert answer.code == 0, answer.err
        assert serving_first.traffic() == {record["version"]: 100}
        assert serving_first.project.run("rollback", "tiny").code == 0
        assert serving_first.traffic() == {"1": 100}
    assert load.statuses == {200}
    assert len(load.deployments) == 2


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param("return 'nonsense'", "accuracy", id="worse"),
        pytest.param("raise KeyError(question)", "Execution failure in 'answer': (KeyError)", id="fails"),
    ],
)
def test_a_bad_version_is_turned_back_before_it_sees_a_request(
    serving_first: Released, answer: str, reason: str
) -> None:
    serving_first.register(answer)
    with Load(serving_first.endpoints, NAME) as load:
        done, record = serving_first.deploy()
    assert (done.code, record.get("outcome"), record.get("requests")) == (10, "returned", 0), done.err
    assert reason in record["reason"]
    assert (load.statuses, serving_first.traffic()) == ({200}, {"1": 100})


def test_a_version_with_another_output_is_refused_before_anything_is_made(serving_first: Released) -> None:
    serving_first.register(REVERSES, output="reply")
    done, _ = serving_first.deploy()
    assert (done.code, "the flow that was run has no output 'answer'" in done.err) == (2, True)
    assert serving_first.traffic() == {"1": 100}
    serving_first.register(REVERSES)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param("assert question != 'live'; return question[::-1]", "failed", id="fails"),
        pytest.param("time.sleep(4 * (question == 'live')); return question[::-1]", "latency", id="slow"),
        pytest.param(f"time.sleep(60 * (question == 'live')); {REVERSES}", "had no answer after 6 s", id="never-ends"),
    ],
)
def test_a_version_that_is_bad_at_live_requests_only_is_caught_in_its_first_step(
    serving_first: Released, answer: str, reason: str
) -> None:
    serving_first.register(answer)
    with Load(serving_first.endpoints, NAME):
        done, record = serving_first.deploy()
    assert (done.code, record["outcome"]) == (10, "returned"), done.err
    assert reason in record["reason"]
    assert record["requests"] > 0
    assert serving_first.traffic() == {"1": 100}


def test_a_driver_that_is_killed_in_a_step_leaves_the_split_and_the_next_one_ends_it(serving_first: Released) -> None:
    serving_first.register(f"{REVERSES}  # killed half-way")
    with Load(serving_first.endpoints, NAME) as load:
        driver = serving_first.project.start("deploy", "tiny")
        wait_for(lambda: len(serving_first.traffic()) == 2)
        kill(driver)
        assert len(serving_first.traffic()) == 2
        wait_for(lambda: serving_first.endpoints.read_lease(NAME) is None)
        answer, record = serving_first.deploy()
        assert answer.code == 0, answer.err
    assert serving_first.traffic() == {record["version"]: 100}
    assert load.statuses == {200}


def test_a_router_that_is_killed_is_brought_back_by_the_command(serving_first: Released) -> None:
    router = find_router(serving_first.endpoints.places(NAME))
    assert router is not None
    os.kill(router.pid, signal.SIGKILL)
    wait_for(lambda: find_router(serving_first.endpoints.places(NAME)) is None)
    refused = serving_first.project.run("invoke", "tiny", "--input", "question=abc")
    assert (refused.code, "no answer" in refused.err) == (4, True)
    started = serving_first.project.run("endpoint", "start", NAME)
    assert (started.code, started.out) == (0, f"{NAME} serves at {router.address}/score\n")
    assert json.loads(serving_first.project.run("invoke", "tiny", "--input", "question=abc").out) == {"answer": "cba"}


def test_a_serving_process_that_is_killed_comes_back_by_itself(serving_first: Released) -> None:
    router = find_router(serving_first.endpoints.places(NAME))
    assert router is not None
    (name,) = serving_first.endpoints.stored(NAME).traffic
    pid = router.call("status")["deployments"][name]["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not is_running(pid))
    assert json.loads(serving_first.project.run("invoke", "tiny", "--input", "question=abc").out) == {"answer": "cba"}
