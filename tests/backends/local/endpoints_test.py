from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from llmops.backends.local.serving.request_log import tail
from llmops.backends.local.serving.router_process import RunningRouter, find_router
from llmops.config.model import Connection
from llmops.core.endpoint import Lease, Window
from llmops.errors import LeaseHeldError, LeaseLostError, UsageError
from tests.backends.local.conftest import NAME, Place, wait_for
from tests.backends.packages import echo_flow, greeter_flow, llm_flow, plain_flow
from tests.projects import is_running

STREAM = """\
import os
import time

from promptflow.core import tool

@tool
def answer(question: str):
    yield "first "
    while not os.path.exists(question):
        time.sleep(0.01)
    yield "last"
"""


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: Any


def send(place: Place, method: str = "POST", path: str = "/score", question: str = "x", **headers: str) -> Reply:
    """Send a request as a client of the endpoint does; keyword `a_b` becomes the header `a-b`."""
    stored = place.endpoints.stored(NAME)
    given = {"authorization": f"Bearer {stored.keys['primary']}", "content-type": "application/json"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", stored.port, timeout=60)
    try:
        connection.request(method, path, json.dumps({"question": question}) if method == "POST" else None, given)
        response = connection.getresponse()
        return Reply(response.status, dict(response.headers), json.loads(response.read()))
    finally:
        connection.close()


def router_of(place: Place) -> RunningRouter:
    found = find_router(place.endpoints.places(NAME))
    assert found is not None
    return found


def serving_pid(place: Place, deployment: str) -> int:
    return int(router_of(place).call("status")["deployments"][deployment]["pid"])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Two versions that serve, for tests that leave them as they are."""
    made = Place(tmp_path_factory.mktemp("shared"))
    try:
        made.deploy_echo("first", "one ")
        made.deploy_echo("second", "two ")
        made.endpoints.update_endpoint(NAME, traffic={"first": 100})
        yield made
    finally:
        made.endpoints.stop(NAME)


@pytest.fixture
def pair(shared: Place) -> Iterator[Place]:
    """The two versions, all traffic at the first, no mirror."""
    yield shared
    shared.endpoints.update_endpoint(NAME, traffic={"first": 100}, mirror={})


def test_the_split_is_exact_over_a_hundred_requests(pair: Place) -> None:
    pair.endpoints.update_endpoint(NAME, traffic={"first": 90, "second": 10})
    answers = [pair.ask("hello") for _ in range(100)]
    assert Counter(one["deployment"] for one in answers) == {"first": 90, "second": 10}
    assert {one["deployment"]: one["answer"] for one in answers} == {"first": "one hello", "second": "two hello"}


def test_the_header_asks_a_deployment_past_the_split(pair: Place) -> None:
    assert pair.ask("hello", deployment="second") == {"status": 200, "deployment": "second", "answer": "two hello"}
    reply = send(pair, azureml_model_deployment="nobody")
    assert (reply.status, reply.body["error"]["code"]) == (404, "DeploymentNotFound")


def test_no_request_is_answered_without_a_key(pair: Place) -> None:
    replies = [send(pair, authorization=given) for given in ("", "Bearer wrong", "Basic x")]
    assert [reply.status for reply in replies] == [401, 401, 401]


def test_a_rotated_key_stops_working_and_the_other_one_goes_on(pair: Place) -> None:
    before = dict(pair.endpoints.stored(NAME).keys)
    assert pair.endpoints.rotate_key(NAME, "secondary") != before["secondary"]
    statuses = [send(pair, authorization=f"Bearer {before[name]}").status for name in ("primary", "secondary")]
    assert statuses == [200, 401]


def test_the_key_does_not_reach_the_flow_and_the_request_id_does(pair: Place) -> None:
    reply = send(pair, x_request_id="abc-1", question="hello")
    assert reply.headers["x-request-id"] == "abc-1"
    assert reply.headers["azureml-model-deployment"] == "first"
    pair.endpoints.measure(NAME, start=0, end=0)
    assert [one.id for one in tail(pair.endpoints.places(NAME).requests, count=1)] == ["abc-1"]


def test_a_mirror_sees_copies_and_its_answers_are_thrown_away(pair: Place) -> None:
    pair.endpoints.update_endpoint(NAME, mirror={"second": 50})
    assert {pair.ask("mirrored")["deployment"] for _ in range(10)} == {"first"}

    def copies() -> int:
        pair.endpoints.measure(NAME, start=0, end=0)
        found = tail(pair.endpoints.places(NAME).requests, count=15)
        return sum(one.kind == "mirror" and one.deployment == "second" and one.status == 200 for one in found)

    wait_for(lambda: copies() == 5)


def test_windows_count_live_requests_only(pair: Place) -> None:
    start = pair.endpoints.now()
    pair.ask("hello", deployment="second")
    assert [pair.ask(question)["status"] for question in ("hello", "raise:no")] == [200, 400]
    window = _window(pair, "first", start)
    assert (window.requests, window.errors, sorted(window.latency_s)) == (2, 1, [50, 95, 99])
    assert _window(pair, "second", start) == Window()


def test_copies_to_the_mirror_count_in_its_window(pair: Place) -> None:
    start = pair.endpoints.now()
    pair.endpoints.update_endpoint(NAME, mirror={"second": 100})
    for _ in range(3):
        pair.ask("mirrored")
    wait_for(lambda: _window(pair, "second", start).requests == 3)


def test_a_request_without_an_answer_waits_in_the_window_until_it_has_one(pair: Place, tmp_path: Path) -> None:
    start = pair.endpoints.now()
    pair.endpoints.update_endpoint(NAME, mirror={"second": 100})
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(pair.ask, f"wait:{tmp_path / 'flag'}")
        wait_for(lambda: [len(_window(pair, one, start).waiting_s) for one in ("first", "second")] == [1, 1])
        assert _window(pair, "first", start).requests == 0
        (tmp_path / "flag").touch()
        asked.result()
    assert (_window(pair, "first", start).requests, _window(pair, "first", start).waiting_s) == (1, [])


def _window(place: Place, deployment: str, start: float) -> Window:
    """Measure all since then; the router's clock may read later than the end of what its client has seen."""
    return place.endpoints.measure(NAME, start=start, end=start + 60).get(deployment, Window())


def test_live_answers_are_kept_with_consent_for_this_user_only_until_the_deployment_goes(place: Place) -> None:
    place.deploy("first", place.register(echo_flow(place.root)), capture_percent=50)
    place.wait_until("first", "healthy")
    place.endpoints.update_endpoint(NAME, traffic={"first": 100})
    start = place.endpoints.now()
    for question in ("a", "b", "raise:no", "c", "d"):
        place.ask(question)
    place.ask("addressed", deployment="first")
    kept = place.endpoints.read_captured(NAME, start=start, end=start + 60, limit=9)["first"]
    questions = [one.inputs["question"] for one in kept]
    assert questions in (["a", "c"], ["a", "d"], ["b", "c"], ["b", "d"])
    assert [one.outputs["answer"] for one in kept] == [f"one {question}" for question in questions]
    assert len(place.endpoints.read_captured(NAME, start=start, end=start + 60, limit=1)["first"]) == 1
    assert place.endpoints.places(NAME).captured.stat().st_mode & 0o777 == 0o600
    place.endpoints.update_endpoint(NAME, traffic={})
    place.endpoints.delete_deployment(NAME, "first")
    assert place.endpoints.read_captured(NAME, start=start, end=start + 60, limit=9) == {}


def test_wrong_inputs_are_the_callers_error_and_what_a_node_raises_is_the_flows(pair: Place) -> None:
    start = pair.endpoints.now()
    answers = [pair.endpoints.score(NAME, inputs) for inputs in ({"other": "x"}, {"question": "raise:no"})]
    assert [answer.status for answer in answers] == [400, 400]
    assert (_window(pair, "first", start).requests, _window(pair, "first", start).errors) == (2, 1)


def test_the_description_and_the_health_are_served(pair: Place) -> None:
    description = send(pair, "GET", "/swagger.json").body
    assert "question" in json.dumps(description["paths"]["/score"])
    health = send(pair, "GET", "/health", authorization="")
    assert (health.status, health.body["status"]) == (200, "Healthy")


def test_traffic_moves_while_requests_are_in_flight_and_none_fails(pair: Place) -> None:
    stop = threading.Event()

    def keep_asking() -> list[int]:
        statuses = []
        while not stop.is_set():
            statuses.append(pair.ask("hello")["status"])
        return statuses

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(keep_asking) for _ in range(4)]
        try:
            for percent in (10, 50, 100, 30, 0):
                _move(pair, {"first": 100 - percent, "second": percent})
        finally:
            stop.set()
        statuses = [status for one in asking for status in one.result()]
    assert set(statuses) == {200}


def _move(place: Place, traffic: dict[str, int]) -> None:
    """Move traffic and see it there; where others ask too, they may get what is rare."""
    place.endpoints.update_endpoint(NAME, traffic=traffic)
    serving = {name for name, share in traffic.items() if share}
    seen = {place.ask("hello")["deployment"] for _ in range(20)}
    assert seen <= serving
    if missing := serving - seen:
        wait_for(lambda: place.ask("hello")["deployment"] in missing)


def test_a_split_that_is_none_is_refused_and_nothing_changes(pair: Place) -> None:
    for traffic, message in (({"first": 99}, "not a traffic split"), ({"third": 100}, "no deployment 'third'")):
        with pytest.raises(UsageError, match=message):
            pair.endpoints.update_endpoint(NAME, traffic=traffic, tags={"x": "y"})
    observed = pair.endpoints.observe(NAME)
    assert observed is not None
    assert (observed.traffic, observed.tags) == ({"first": 100}, {})


def test_a_deployment_in_use_is_not_deleted(pair: Place) -> None:
    with pytest.raises(UsageError, match="the deployment 'first' is in use"):
        pair.endpoints.delete_deployment(NAME, "first")
    assert pair.ask("hello")["status"] == 200


def test_the_same_deployment_again_changes_nothing_and_other_content_is_refused(pair: Place) -> None:
    before = serving_pid(pair, "first")
    pair.deploy("first", pair.register(echo_flow(pair.root / "one", "one ")))
    assert serving_pid(pair, "first") == before
    with pytest.raises(UsageError, match="serves other content"):
        pair.deploy("first", pair.register(echo_flow(pair.root / "three", "three ")))


def test_a_request_above_the_limits_is_answered_429(place: Place) -> None:
    place.deploy_echo("first", max_concurrent_requests=1, max_queued_requests=1)
    place.endpoints.update_endpoint(NAME, traffic={"first": 100})
    flag = place.root / "flag"
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(place.ask, f"wait:{flag}") for _ in range(6)]
        wait_for(lambda: sum(one.done() for one in asked) == 4)
        flag.touch()
    assert Counter(one.result()["status"] for one in asked) == {200: 2, 429: 4}


def test_a_request_that_takes_too_long_is_answered_504_and_its_place_is_free_again(place: Place) -> None:
    place.deploy_echo("first", max_concurrent_requests=1, request_timeout_s=2.0)
    place.endpoints.update_endpoint(NAME, traffic={"first": 100})
    assert place.ask("sleep:30")["status"] == 504
    wait_for(lambda: place.ask("hello")["status"] == 200)


def test_deleting_waits_for_the_answers_in_flight(place: Place) -> None:
    place.deploy_echo("first")
    question = f"wait:{place.root / 'flag'}"
    with ThreadPoolExecutor(2) as pool:
        asking = pool.submit(place.ask, question, "first")
        wait_for(lambda: router_of(place).call("status")["deployments"]["first"]["in_flight"] == 1)
        deleting = pool.submit(place.endpoints.delete_deployment, NAME, "first")
        wait_for(lambda: place.status("first") == "deleting")
        (place.root / "flag").touch()
        assert asking.result() == {"status": 200, "deployment": "first", "answer": f"one {question}"}
        deleting.result()
    observed = place.endpoints.observe(NAME)
    assert observed is not None
    assert observed.deployments == {}
    assert list(place.endpoints.places(NAME).folder.glob("deployments/*")) == []


def test_a_serving_process_that_is_killed_comes_back_and_waiting_requests_are_answered(place: Place) -> None:
    place.deploy_echo("first")
    place.endpoints.update_endpoint(NAME, traffic={"first": 100})
    before = serving_pid(place, "first")
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{before}").exists())  # until then one of its threads may still hold its socket
    assert place.ask("hello")["status"] == 200
    assert serving_pid(place, "first") != before


def test_a_router_that_is_killed_is_started_again_as_it_was(place: Place) -> None:
    place.deploy_echo("first")
    place.endpoints.update_endpoint(NAME, traffic={"first": 100}, tags={"kept": "yes"})
    before, child = router_of(place), serving_pid(place, "first")
    os.kill(before.pid, signal.SIGKILL)
    wait_for(lambda: not is_running(child))
    assert place.status("first") == "unhealthy"
    assert place.endpoints.start(NAME).port == before.port
    assert place.ask("hello") == {"status": 200, "deployment": "first", "answer": "one hello"}
    observed = place.endpoints.observe(NAME)
    assert observed is not None
    assert (observed.traffic, observed.tags) == ({"first": 100}, {"kept": "yes"})


def test_two_drivers_that_start_an_endpoint_at_once_find_one_router(place: Place) -> None:
    place.endpoints.ensure_endpoint(NAME, tags={})
    with ThreadPoolExecutor(3) as pool:
        routers = list(pool.map(lambda _: place.endpoints.start(NAME), range(3)))
    assert len({router.pid for router in routers}) == 1


def test_a_flow_that_does_not_load_fails_and_says_why(place: Place) -> None:
    flow = echo_flow(place.root / "bad")
    (flow / "answer.py").write_text("raise RuntimeError('no such thing')\n")
    place.deploy("first", place.register(flow))
    place.wait_until("first", "failed")
    observed = place.endpoints.observe(NAME)
    assert observed is not None
    assert "no such thing" in observed.deployments["first"].message
    assert "no such thing" in place.endpoints.read_logs(NAME, "first")
    reply = send(place, azureml_model_deployment="first")
    assert (reply.status, reply.body["error"]["code"]) == (503, "DeploymentUnavailable")


def test_a_deployment_that_hangs_while_it_loads_can_be_deleted(place: Place) -> None:
    flow = plain_flow(place.root)
    (flow / "main.py").write_text("import time\ntime.sleep(600)\n" + (flow / "main.py").read_text())
    place.deploy("first", place.register(flow, source="flows/plain/main.py:answer"))
    folder = place.endpoints.places(NAME).folder
    wait_for(lambda: bool(list(folder.glob("deployments/*/run-*/flow"))))
    place.endpoints.delete_deployment(NAME, "first")
    assert place.endpoints.stored(NAME).deployments == {}
    assert list(folder.glob("deployments/*")) == []


def test_a_changed_copy_of_a_package_is_not_started(place: Place) -> None:
    place.deploy_echo("first")
    place.endpoints.stop(NAME)
    (copy,) = place.endpoints.places(NAME).folder.glob("deployments/*/package/flow/flows/echo/answer.py")
    copy.write_text("x = 1\n")
    place.endpoints.start(NAME)
    wait_for(lambda: "was changed" in place.endpoints.read_logs(NAME, "first"))
    assert place.status("first") != "healthy"


def test_an_llm_node_answers_with_the_stand_in_model_and_the_chosen_variant(place: Place) -> None:
    place.connections["model"] = Connection(type="stand_in")
    place.deploy("first", place.register(llm_flow(place.root), variants={"summarise": "long"}))
    place.wait_until("first", "healthy")
    answer = place.endpoints.score(NAME, {"text": "A quiet ferry crosses the bay."}, deployment="first")
    assert answer.status == 200
    assert answer.outputs is not None
    assert answer.outputs["summary"]


def test_what_overlays_nodes_where_a_version_was_judged_overlays_them_where_it_serves(place: Place) -> None:
    place.connections["other"] = Connection(type="stand_in")
    place.deploy("first", place.register(llm_flow(place.root), nodes={"summarise": {"connection": "other"}}))
    place.wait_until("first", "healthy")
    answer = place.endpoints.score(NAME, {"text": "A quiet ferry crosses the bay."}, deployment="first")
    assert (answer.status, bool(answer.outputs and answer.outputs["summary"])) == (200, True)


def test_a_function_that_is_named_by_its_module_is_served(place: Place) -> None:
    place.deploy("first", place.register(plain_flow(place.root), source="flows.plain.main:answer"))
    place.wait_until("first", "healthy")
    assert place.ask("hello", deployment="first")["answer"] == "one hello"


def test_a_version_serves_with_the_init_and_in_the_python_that_it_was_judged_with(place: Place) -> None:
    own = place.root / "own-python"
    own.write_text(f'#!/bin/sh\nSTARTED_BY=own exec {sys.executable} "$@"\n')
    own.chmod(0o755)
    flow = greeter_flow(place.root)
    place.deploy(
        "first",
        place.register(
            flow, source="flows/greeter/main.py:Greeter", init={"greeting": "Good day,"}, python="own-python"
        ),
    )
    place.wait_until("first", "healthy")
    reply = place.ask("Ana", deployment="first")
    assert (reply["answer"], reply["python"]) == ("Good day, Ana", "own")


def test_a_python_that_is_not_there_is_why_a_deployment_fails(place: Place) -> None:
    place.deploy("first", place.register(echo_flow(place.root), python="nobody/python"))
    place.wait_until("first", "failed")
    observed = place.endpoints.observe(NAME)
    assert observed
    assert "no such Python" in observed.deployments["first"].message


def test_secrets_are_in_no_file_and_no_argument(place: Place) -> None:
    place.connections["model"] = Connection(type="open_ai", api_key="${env:THE_KEY}", base_url="http://127.0.0.1:9/v1")
    place.env["THE_KEY"] = "s3cr3t-value-of-a-test"
    place.deploy("first", place.register(llm_flow(place.root)))
    place.wait_until("first", "healthy")
    place.endpoints.score(NAME, {"text": "x"}, deployment="first")
    for pid in (router_of(place).pid, serving_pid(place, "first")):
        assert b"s3cr3t" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    files = [path for path in (place.root / ".llmops").rglob("*") if path.is_file()]
    assert [path for path in files if b"s3cr3t" in path.read_bytes()] == []


def test_one_of_several_drivers_gets_the_lease(place: Place) -> None:
    def acquire(token: str) -> str:
        try:
            return place.endpoints.acquire_lease(NAME, token=token, owner=token, link="", duration_s=60).token
        except LeaseHeldError:
            return ""

    with ThreadPoolExecutor(8) as pool:
        winners = [token for token in pool.map(acquire, [f"driver-{number}" for number in range(8)]) if token]
    held = place.endpoints.read_lease(NAME)
    assert held is not None
    assert winners == [held.token]


def test_a_lease_that_was_taken_over_cannot_be_renewed(place: Place) -> None:
    def acquire(driver: str, duration_s: float) -> Lease:
        return place.endpoints.acquire_lease(NAME, token=driver, owner=driver, link="", duration_s=duration_s)

    old = acquire("ana", 0)
    acquire("bo", 60)
    with pytest.raises(LeaseLostError, match="taken over by bo"):
        place.endpoints.renew_lease(old, duration_s=60)
    with pytest.raises(LeaseHeldError, match="found bo until"):
        acquire("ana", 60)


def test_a_streamed_answer_passes_the_router_piece_by_piece(place: Place) -> None:
    flow = echo_flow(place.root / "stream")
    (flow / "answer.py").write_text(STREAM)
    place.deploy("first", place.register(flow))
    place.wait_until("first", "healthy")
    place.endpoints.update_endpoint(NAME, traffic={"first": 100})
    stored, go_on = place.endpoints.stored(NAME), place.root / "go-on"
    headers = {"authorization": f"Bearer {stored.keys['primary']}", "accept": "text/event-stream"}
    connection = http.client.HTTPConnection("127.0.0.1", stored.port, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", "/score", json.dumps({"question": str(go_on)}), headers)
        response = connection.getresponse()
        first = response.readline()
        go_on.touch()
        rest = response.read()
    assert (b"first" in first, b"last" in first, b"last" in rest) == (True, False, True)
