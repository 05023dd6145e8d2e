"""What the SDKs do on their own about faults: what they hide, what they repeat, what they give up on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from azure.ai.ml import MLClient
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.identity import ClientSecretCredential, DefaultAzureCredential
from promptflow.azure import PFClient

from llmops.emulator.tokens import CLIENT, WRONG_SECRET
from tests.azure.conftest import Requests, make_endpoint, make_ml, register, unique

TENANT = "00000000-0000-0000-0000-000000000001"


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_one_fault_of_the_control_plane_is_hidden(
    ml: MLClient, inject: Callable[..., None], requests: Requests, status: int
) -> None:
    inject(path=f"/workspaces/{ml.workspace_name}$", status=status)
    assert ml.workspaces.get(ml.workspace_name).name == ml.workspace_name
    assert requests.statuses("GET", ml.workspace_name) == [status, 200]


def test_four_faults_come_to_light(ml: MLClient, inject: Callable[..., None], requests: Requests) -> None:
    inject(path=f"/workspaces/{ml.workspace_name}$", status=503, count=None, headers={"x-ms-retry-after-ms": "10"})
    with pytest.raises(HttpResponseError) as error:
        ml.workspaces.get(ml.workspace_name)
    assert error.value.status_code == 503
    assert requests.statuses("GET", ml.workspace_name) == [503] * 4


@pytest.mark.parametrize("status", [400, 401, 403, 409])
def test_refusals_are_not_repeated(ml: MLClient, inject: Callable[..., None], requests: Requests, status: int) -> None:
    inject(path=f"/workspaces/{ml.workspace_name}$", status=status)
    with pytest.raises(HttpResponseError) as error:
        ml.workspaces.get(ml.workspace_name)
    assert error.value.status_code == status
    assert isinstance(error.value, ClientAuthenticationError) is (status == 401)
    assert requests.statuses("GET", ml.workspace_name) == [status]


@pytest.mark.parametrize(("headers", "attempts"), [({}, 1), ({"Retry-After": "1"}, 2)])
def test_a_post_is_repeated_on_429_only_when_told_to(
    ml: MLClient, inject: Callable[..., None], requests: Requests, headers: dict[str, str], attempts: int
) -> None:
    name = make_endpoint(ml)
    inject(method="POST", path="/listKeys", status=429, headers=headers)
    if attempts == 1:
        with pytest.raises(HttpResponseError):
            ml.online_endpoints.get_keys(name)
    else:
        ml.online_endpoints.get_keys(name)
    assert len(requests.all("POST", "/listKeys")) == attempts


@pytest.mark.parametrize("effect", ["reset", "lose_answer"])
def test_a_connection_that_breaks_is_tried_again(
    ml: MLClient, inject: Callable[..., None], requests: Requests, effect: str
) -> None:
    """A PUT is sent twice; the service makes one model of it, because the version is in the path."""
    inject(effect=effect, method="PUT", path="/models/")
    assert register(ml).version == "1"
    assert requests.statuses("PUT", "/models/") == [0, 201 if effect == "reset" else 200]
    assert [model.version for model in ml.models.list("shouter")] == ["1"]


def test_a_connection_that_keeps_breaking_is_an_error_without_a_status(
    ml: MLClient, inject: Callable[..., None]
) -> None:
    inject(effect="reset", path=f"/workspaces/{ml.workspace_name}$", count=None)
    with pytest.raises((ServiceRequestError, ServiceResponseError)):
        ml.workspaces.get(ml.workspace_name, retry_backoff_factor=0)


def test_a_reset_of_run_history_is_not_tried_again(
    shared: PFClient, inject: Callable[..., None], requests: Requests
) -> None:
    import requests as http

    inject(effect="reset", path="rundata")
    with pytest.raises(http.exceptions.ConnectionError):
        shared.runs.get("nobody")
    assert requests.statuses("POST", "rundata") == [0]


def test_a_late_answer_is_waited_for(ml: MLClient, inject: Callable[..., None], requests: Requests) -> None:
    inject(effect="delay", delay_s=0.3, path=f"/workspaces/{ml.workspace_name}$")
    ml.workspaces.get(ml.workspace_name)
    (entry,) = requests.all("GET", ml.workspace_name)
    assert (entry.status, entry.fault) == (200, "delay")


def test_a_hang_ends_in_a_second_attempt(ml: MLClient, inject: Callable[..., None], requests: Requests) -> None:
    inject(effect="hang", delay_s=0.2, path=f"/workspaces/{ml.workspace_name}$")
    ml.workspaces.get(ml.workspace_name)
    assert requests.statuses("GET", ml.workspace_name) == [0, 200]


def test_a_wrong_secret_has_no_status(emulator: object) -> None:
    del emulator
    ml = make_ml(ClientSecretCredential(TENANT, CLIENT, WRONG_SECRET), unique("workspace"))
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215") as error:
        ml.workspaces.get(ml.workspace_name)
    assert error.value.status_code is None


def test_a_token_that_ran_out_is_a_401_that_is_not_repeated(
    ml: MLClient, inject: Callable[..., None], requests: Requests
) -> None:
    inject(path=f"/workspaces/{ml.workspace_name}$", status=401)
    with pytest.raises(ClientAuthenticationError, match="ExpiredAuthenticationToken") as error:
        ml.workspaces.get(ml.workspace_name)
    assert error.value.status_code == 401
    assert requests.statuses("GET", ml.workspace_name) == [401]


def test_short_tokens_are_fetched_again_for_each_call_of_prompt_flow(
    settings: Callable[..., None], requests: Requests
) -> None:
    settings(token_s=240.0)
    credential = DefaultAzureCredential()
    pf = PFClient(credential, "00000000-0000-0000-0000-00000000000b", "short", unique("workspace"))
    before = len(requests.all("POST", "/oauth2/v2.0/token"))
    for _ in range(3):
        pf.runs.list()
    assert len(requests.all("POST", "/oauth2/v2.0/token")) >= before + 3
