"""Endpoints, deployments and scoring: `azure-ai-ml` against deployments that really serve."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests as http
from azure.ai.ml import MLClient
from azure.ai.ml.constants._endpoint import EndpointInvokeFields
from azure.ai.ml.entities import Environment, ManagedOnlineEndpoint, OnlineRequestSettings
from azure.ai.ml.exceptions import MlException, ValidationException
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.core.polling.base_polling import OperationFailed

from llmops.emulator.emulator import Emulator
from tests.azure.conftest import Requests, deployment, make_endpoint, make_ml, register, set_traffic, unique

ROUTE = {"path": "/health", "port": 8080}
RUNTIME = {
    "image": "mcr.microsoft.com/azureml/promptflow/promptflow-runtime:latest",
    "inference_config": {
        "liveness_route": ROUTE,
        "readiness_route": ROUTE,
        "scoring_route": {"path": "/score", "port": 8080},
    },
}


@dataclass(frozen=True)
class Served:
    """An endpoint with the deployments blue (100 %) and green (0 %)."""

    ml: MLClient
    endpoint: str
    uri: str
    key: str

    def post(self, text: str, key: str = "", **headers: str) -> http.Response:
        """Score with a client of our own."""
        sent = {"Authorization": f"Bearer {key or self.key}", **headers}
        return http.post(self.uri, json={"text": text}, headers=sent, verify=os.environ["SSL_CERT_FILE"], timeout=60)


@pytest.fixture(scope="module")
def served(credential: Any, emulator: Emulator) -> Iterator[Served]:
    """Two deployments of the same flow, started side by side."""
    del emulator
    ml = make_ml(credential, unique("serving"))
    register(ml)
    name = make_endpoint(ml)
    environment = Environment(**RUNTIME)
    limits = OnlineRequestSettings(request_timeout_ms=30_000, max_concurrent_requests_per_instance=4)
    pollers = [
        ml.online_deployments.begin_create_or_update(
            deployment(name, color, environment=environment, request_settings=limits)
        )
        for color in ("blue", "green")
    ]
    for poller in pollers:
        assert poller.result().provisioning_state == "Succeeded"
    set_traffic(ml, name, blue=100)
    endpoint = ml.online_endpoints.get(name)
    yield Served(ml, name, endpoint.scoring_uri, ml.online_endpoints.get_keys(name).primary_key)
    ml.online_endpoints.begin_delete(name).result()


def test_a_deployment_really_serves_the_flow(served: Served) -> None:
    answer = served.post("hello")
    assert (answer.status_code, answer.json()) == (200, {"loud": "HELLO"})
    assert answer.headers["azureml-model-deployment"] == "blue"
    assert served.uri == f"https://{served.endpoint}.eastus.inference.ml.azure.com/score"


def test_the_header_reaches_a_deployment_without_traffic(served: Served) -> None:
    answer = served.post("hello", **{"azureml-model-deployment": "green"})
    assert (answer.json(), answer.headers["azureml-model-deployment"]) == ({"loud": "HELLO"}, "green")


def test_a_wrong_key_is_refused(served: Served) -> None:
    assert served.post("hello", key="wrong").status_code == 401


def test_a_flow_that_fails_is_a_424_with_its_own_status(served: Served) -> None:
    answer = served.post("quiet")
    assert (answer.status_code, answer.headers["ms-azureml-model-error-statuscode"]) == (424, "400")
    assert "nothing to shout" in answer.text


def test_the_logs_show_what_the_flow_printed(served: Served) -> None:
    served.post("hear-me")
    deadline = time.monotonic() + 30  # a log follows a moment after the answer
    while "hear-me" not in served.ml.online_deployments.get_logs("blue", served.endpoint, lines=200):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    logs = served.ml.online_deployments.get_logs(
        "blue", served.endpoint, lines=10, container_type="storage-initializer"
    )
    assert logs == "The model was downloaded.\n"


def test_invoke_remembers_a_deployment_that_was_named_once(served: Served, tmp_path: Path, requests: Requests) -> None:
    """A smoke test of the traffic split through the SDK would test nothing: hence a client of our own."""
    leaked = EndpointInvokeFields.DEFAULT_HEADER
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"text": "hello"}))
    served.ml.online_endpoints.invoke(served.endpoint, request_file=str(body), deployment_name="green")
    assert served.ml.online_endpoints.invoke(served.endpoint, request_file=str(body)) == '{"loud":"HELLO"}'
    sent = [entry.headers.get("azureml-model-deployment") for entry in requests.all("POST", "/score")]
    assert sent == ["green", "green"]
    assert leaked.pop("azureml-model-deployment") == "green"  # nor do the other tests of this process want it
    served.post("hello")
    assert requests.all("POST", "/score")[-1].headers.get("azureml-model-deployment") is None


def test_traffic_must_be_whole_and_sum_to_0_or_100(served: Served) -> None:
    with pytest.raises(HttpResponseError, match="must be 0 or 100; it is 70") as error:
        set_traffic(served.ml, served.endpoint, blue=70)
    assert error.value.status_code == 400


def test_traffic_names_deployments_that_exist(served: Served) -> None:
    with pytest.raises(HttpResponseError, match="'red', which does not exist"):
        set_traffic(served.ml, served.endpoint, red=100)


def test_a_deployment_with_traffic_is_not_deleted(served: Served) -> None:
    with pytest.raises(HttpResponseError, match="100 percent of the traffic"):
        served.ml.online_deployments.begin_delete("blue", served.endpoint)


def test_traffic_is_split_as_set(served: Served) -> None:
    set_traffic(served.ml, served.endpoint, blue=50, green=50)
    seen = {served.post("hello").headers["azureml-model-deployment"] for _ in range(40)}
    set_traffic(served.ml, served.endpoint, blue=100)
    assert seen == {"blue", "green"}
    assert served.ml.online_endpoints.get(served.endpoint).traffic == {"blue": 100, "green": 0}


def test_a_regenerated_key_replaces_the_old_one(served: Served) -> None:
    served.ml.online_endpoints.begin_regenerate_keys(served.endpoint, key_type="secondary").result()
    keys = served.ml.online_endpoints.get_keys(served.endpoint)
    assert keys.primary_key == served.key
    assert served.post("hello", key=keys.secondary_key).status_code == 200


def test_invoke_without_traffic_raises_another_class_than_other_failures(ml: MLClient, tmp_path: Path) -> None:
    name = make_endpoint(ml)
    body = tmp_path / "body.json"
    body.write_text("{}")
    with pytest.raises(MlException, match="no deployment that takes traffic"):
        ml.online_endpoints.invoke(name, request_file=str(body))


def test_invoke_of_an_unknown_deployment_fails_before_it_asks(ml: MLClient, tmp_path: Path, requests: Requests) -> None:
    name = make_endpoint(ml)
    body = tmp_path / "body.json"
    body.write_text("{}")
    with pytest.raises(ValidationException):
        ml.online_endpoints.invoke(name, request_file=str(body), deployment_name="nobody")
    assert requests.all("POST", "/score") == []


def test_an_endpoint_is_created_listed_and_deleted(ml: MLClient) -> None:
    properties = {"enforce_access_to_default_secret_stores": "enabled"}
    name = make_endpoint(ml, tags={"experiment": "e"}, properties=properties)
    found = ml.online_endpoints.get(name)
    assert (found.provisioning_state, found.auth_mode, found.tags) == ("Succeeded", "key", {"experiment": "e"})
    assert found.properties.items() >= properties.items()
    assert [endpoint.name for endpoint in ml.online_endpoints.list()] == [name]
    ml.online_endpoints.begin_delete(name).result()
    with pytest.raises(ResourceNotFoundError):
        ml.online_endpoints.get(name)


def test_what_was_read_can_be_written_back_with_the_junk_that_the_sdk_adds(ml: MLClient, requests: Requests) -> None:
    name = make_endpoint(ml)
    described = ml.online_endpoints.get(name)
    ml.online_endpoints.begin_create_or_update(described).result()
    assert "createdBy" in requests.all("PUT", name)[-1].body
    assert requests.statuses("PUT", name) == [201, 200]


def test_traffic_cannot_be_set_when_an_endpoint_is_made(ml: MLClient) -> None:
    endpoint = ManagedOnlineEndpoint(name=unique("endpoint"), traffic={"blue": 100})
    with pytest.raises(HttpResponseError, match="before its deployments exist"):
        ml.online_endpoints.begin_create_or_update(endpoint)


@pytest.mark.parametrize("name", ["ab", "1abc", "a_b", "a" * 33])
def test_a_bad_endpoint_name_is_refused_before_anything_is_sent(ml: MLClient, requests: Requests, name: str) -> None:
    with pytest.raises(MlException):
        ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=name))
    assert requests.all("PUT") == []


def test_two_dashes_in_a_name_are_found_by_the_service_alone(ml: MLClient) -> None:
    with pytest.raises(HttpResponseError, match="single dashes"):
        ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="two--dashes"))


def test_a_name_that_another_workspace_has_is_refused(ml: MLClient, credential: Any) -> None:
    name = make_endpoint(ml)
    other = make_ml(credential, unique("workspace"))
    with pytest.raises(ResourceExistsError, match="already taken in this region"):
        other.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=name))


def test_a_busy_endpoint_answers_409_which_is_not_retried(
    ml: MLClient, settings: Callable[..., None], requests: Requests
) -> None:
    name = unique("endpoint")
    settings(operation_s=600.0, poll_ms=1000)
    ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=name))
    with pytest.raises(ResourceExistsError, match="in Creating provisioning state"):
        ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=name))
    assert requests.statuses("PUT", name) == [201, 409]


def test_a_result_with_a_time_limit_dies_instead_of_timing_out(ml: MLClient, settings: Callable[..., None]) -> None:
    settings(operation_s=600.0, poll_ms=1000)
    poller = ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=unique("endpoint")))
    with pytest.raises(AttributeError, match="auth_mode"):
        poller.result(timeout=0.05)
    poller.wait(timeout=0.05)
    assert not poller.done()


@pytest.mark.parametrize(
    ("hints", "delay"), [({"poll_ms": 0}, 30), ({"poll_ms": 250}, 0.25), ({"retry_after_s": 7}, 7)]
)
def test_the_service_decides_how_often_the_sdk_polls(
    ml: MLClient, settings: Callable[..., None], hints: dict[str, int], delay: float
) -> None:
    """Without a hint the SDK waits half a minute between two looks."""
    settings(operation_s=600.0, **hints)
    poller = ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=unique("endpoint")))
    assert poller.polling_method()._extract_delay() == delay


def test_a_failed_operation_has_http_status_200(ml: MLClient, inject: Callable[..., None]) -> None:
    """So a failure is told by its cause or by the provisioning state, never by the status."""
    inject(effect="fail_operation", method="PUT", code="InternalError", message="no capacity")
    name = unique("endpoint")
    with pytest.raises(HttpResponseError, match=r"\(InternalError\) no capacity") as error:
        ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=name)).result()
    assert error.value.status_code == 200
    assert isinstance(error.value.__cause__, OperationFailed)
    assert ml.online_endpoints.get(name).provisioning_state == "Failed"


@pytest.mark.parametrize(("status", "attempts"), [(500, 2), (404, 1)])
def test_a_poll_that_fails_is_asked_again_unless_it_is_a_404(
    ml: MLClient,
    settings: Callable[..., None],
    inject: Callable[..., None],
    requests: Requests,
    status: int,
    attempts: int,
) -> None:
    """In a region of its own: pollers of other tests may still ask for what became of their operations."""
    settings(region="westus2")
    inject(method="GET", path="westus2/mfeOperationsStatus", status=status)
    poller = ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=unique("endpoint")))
    if status == 404:
        with pytest.raises(HttpResponseError, match="Injected fault: 404") as error:
            poller.result()
        assert error.value.status_code == 404
    else:
        poller.result()
    assert len(requests.all("GET", "westus2/mfeOperationsStatus")) >= attempts


def test_a_flow_that_does_not_load_leaves_a_failed_deployment_whose_logs_say_why(ml: MLClient) -> None:
    register(ml, "broken")
    name = make_endpoint(ml)
    with pytest.raises(HttpResponseError, match="ResourceNotReady") as error:
        ml.online_deployments.begin_create_or_update(deployment(name)).result()
    assert error.value.status_code == 200
    assert ml.online_deployments.get("blue", name).provisioning_state == "Failed"
    assert "missing.py" in ml.online_deployments.get_logs("blue", name, lines=100)


def test_a_missing_model_is_found_by_the_service_alone(ml: MLClient, requests: Requests) -> None:
    name = make_endpoint(ml)
    with pytest.raises(HttpResponseError, match="'shouter' version '1' does not exist") as error:
        ml.online_deployments.begin_create_or_update(deployment(name))
    assert error.value.status_code == 400
    assert requests.all("GET", "/models/") == []


def test_a_deployment_needs_its_endpoint(ml: MLClient) -> None:
    with pytest.raises(ResourceNotFoundError):
        ml.online_deployments.begin_create_or_update(deployment("endpoint-nowhere"))


def test_quota_counts_cores_with_a_fifth_to_spare(ml: MLClient, settings: Callable[..., None]) -> None:
    settings(core_quota=0)
    register(ml)
    name = make_endpoint(ml)
    with pytest.raises(HttpResponseError, match=r"OutOfQuota.*5 cores are needed"):
        ml.online_deployments.begin_create_or_update(deployment(name))


def test_a_stuck_deployment_never_ends(ml: MLClient, inject: Callable[..., None]) -> None:
    register(ml)
    name = make_endpoint(ml)
    inject(effect="stick_operation", method="PUT", path="/deployments/")
    poller = ml.online_deployments.begin_create_or_update(deployment(name))
    poller.wait(timeout=0.5)
    assert not poller.done()
    assert ml.online_deployments.get("blue", name).provisioning_state == "Creating"


def test_a_missing_role_that_appears_later_ends_the_refusals(ml: MLClient, inject: Callable[..., None]) -> None:
    inject(effect="deny", permission="*/onlineEndpoints/write", count=2)
    endpoint = ManagedOnlineEndpoint(name=unique("endpoint"))
    for _ in range(2):
        with pytest.raises(HttpResponseError, match=r"AuthorizationFailed.*onlineEndpoints/write") as error:
            ml.online_endpoints.begin_create_or_update(endpoint)
        assert error.value.status_code == 403
        assert not isinstance(error.value, ClientAuthenticationError)
    assert ml.online_endpoints.begin_create_or_update(endpoint).result().provisioning_state == "Succeeded"
