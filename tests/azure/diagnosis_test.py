"""Why a deployment did not come to serve is named with what to do, whatever it was, through all that Azure shows of it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from llmops.backends.azure.diagnosis import diagnose
from llmops.backends.protocols import DeploymentRequest
from llmops.errors import BackendError
from tests.azure.preflight_test import Site, site

__all__ = ["site"]


def fail(site: Site, *, llm: bool = False) -> str:
    """Deploy what is to fail; return what is said of it."""
    model, folder = site.register(llm=llm)
    site.delivery.endpoints.ensure_endpoint(site.endpoint, tags={})
    request = DeploymentRequest(name="broken", model=model, package=folder)
    site.delivery.endpoints.create_deployment(site.endpoint, request)
    while (seen := site.delivery.endpoints.observe(site.endpoint)) and seen.deployments["broken"].status == "creating":
        time.sleep(0.05)
    assert seen
    assert seen.deployments["broken"].status == "failed"
    return seen.deployments["broken"].message


def test_a_connection_that_the_workspace_lacks_is_named_from_what_prompt_flow_says(site: Site) -> None:
    message = fail(site, llm=True)
    assert message.startswith("a connection that the flow uses is missing in the workspace"), message
    assert "'model'" in message


@pytest.mark.parametrize(
    ("code", "message", "cause", "fix"),
    [
        ("ImagePullFailure", "Unable to download user container image", "the image could not be pulled", "AcrPull"),
        (
            "OutOfCapacity",
            "no nodes",
            "the region has no machines of this type left",
            "another `serving.instance_type`",
        ),
        ("ResourceNotReady", "Readiness probe failed: timeout", "did not answer its health check", "start_timeout_s"),
        ("OutOfMemory", "Container was OOMKilled", "ran out of memory", "larger `serving.instance_type`"),
    ],
)
def test_what_the_operation_says_is_explained(
    site: Site, inject: Callable[..., None], code: str, message: str, cause: str, fix: str
) -> None:
    inject(effect="fail_operation", method="PUT", path="/deployments/", code=code, message=message)
    said = fail(site)
    assert cause in said, said
    assert fix in said


def test_a_quota_that_is_refused_at_once_is_explained(site: Site, settings: Callable[..., None]) -> None:
    settings(core_quota=0)
    with pytest.raises(BackendError) as error:
        fail(site)
    assert "OutOfQuota" in error.value.problems[0].found
    assert error.value.problems[0].fix.startswith("the subscription's quota for this instance type is used up")


@pytest.mark.parametrize(
    "denied",
    ["Microsoft.MachineLearningServices/locations/*", "*/deployments/getLogs/action"],
)
def test_what_may_not_be_looked_at_does_not_hide_the_rest(site: Site, inject: Callable[..., None], denied: str) -> None:
    inject(effect="fail_operation", method="PUT", path="/deployments/", code="ImagePullFailure", message="pull image")
    inject(effect="deny", permission=denied, count=None)
    assert "the image could not be pulled" in fail(site)


def test_an_endpoint_that_failed_is_an_error_even_where_its_reason_may_not_be_read(
    site: Site, inject: Callable[..., None]
) -> None:
    inject(effect="fail_operation", method="PUT", path="/onlineEndpoints/", code="Nope", message="not today")
    inject(effect="deny", permission="Microsoft.MachineLearningServices/locations/*", count=None)
    with pytest.raises(BackendError, match=r"Azure could not create the endpoint .*\n  found Failed: no reason given"):
        site.delivery.endpoints.ensure_endpoint(site.endpoint, tags={})


@pytest.mark.parametrize(
    ("log", "storage", "cause"),
    [
        (
            "",
            "HttpResponseError: This request is not authorized to perform this operation using this permission.\n"
            "ErrorCode:AuthorizationPermissionMismatch",
            "may not read the model's files",
        ),
        (
            "(AuthorizationFailed) The client 'x' does not have authorization to perform action "
            "'Microsoft.MachineLearningServices/workspaces/connections/listsecrets/action'",
            "",
            "the workspace's connections",
        ),
        (
            "(AuthorizationFailed) does not have authorization to perform action 'Microsoft.Other/read'",
            "",
            "a role is missing",
        ),
        ("FlowRefused: the flow cannot load", "", "does not load in the container"),
    ],
)
def test_what_the_logs_say_is_explained(log: str, storage: str, cause: str) -> None:
    assert cause in diagnose("ResourceNotReady", "User container has crashed", log, storage)
