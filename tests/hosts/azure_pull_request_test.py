"""One thread and one status in Azure Repos, against a double of its REST API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llmops.errors import BackendError, UsageError
from llmops.hosts.azure_pull_request import AzurePullRequest, open_azure_pull_request
from tests.hosts.azure_double import ME, NOT_ALLOWED, SIGN_IN, SOMEBODY, AzureRepos
from tests.hosts.rest_double import Reply, serve

WAITS: list[float] = []


@pytest.fixture
def azure() -> Iterator[AzureRepos]:
    WAITS.clear()
    service = AzureRepos()
    with serve(service):
        yield service


@pytest.fixture
def pull_request(azure: AzureRepos) -> AzurePullRequest:
    return open_azure_pull_request(azure.environment(), sleep=WAITS.append)


def test_one_thread_is_opened_updated_closed_when_green_and_opened_again(
    azure: AzureRepos, pull_request: AzurePullRequest
) -> None:
    states = []
    for body, is_open in (("bad", True), ("bad", True), ("good", False), ("bad", True)):
        pull_request.put_comment(body, key="check", is_open=is_open)
        states.append(azure.threads[0]["status"])
    assert states == ["active", "active", "closed", "active"]
    assert [thread["comments"][0]["content"] for thread in azure.threads] == ["bad"]


def test_a_thread_that_says_so_already_is_left_alone(azure: AzureRepos, pull_request: AzurePullRequest) -> None:
    azure.add(ME, "same\r\ntext\n", status="closed", key="check")
    assert pull_request.put_comment("same\ntext", key="check", is_open=False) == "unchanged"
    assert not any(call.startswith(("POST", "PATCH")) for call in azure.calls)


@pytest.mark.parametrize(("author", "key"), [(SOMEBODY, "check"), (ME, "other"), (ME, None)])
def test_a_thread_of_somebody_else_or_of_another_key_is_not_ours(
    azure: AzureRepos, pull_request: AzurePullRequest, author: str, key: str | None
) -> None:
    azure.add(author, "theirs", status="active", key=key)
    assert pull_request.put_comment("ours", key="check", is_open=True) == "created"
    assert azure.threads[0]["comments"][0]["content"] == "theirs"


def test_a_deleted_comment_is_replaced_by_a_new_thread(azure: AzureRepos, pull_request: AzurePullRequest) -> None:
    azure.add(ME, "old", status="active", key="check")["comments"][0]["isDeleted"] = True
    assert pull_request.put_comment("new", key="check", is_open=True) == "created"


def test_a_thread_whose_creation_got_no_answer_is_not_made_twice(
    azure: AzureRepos, pull_request: AzurePullRequest
) -> None:
    azure.trouble = [None, None, Reply(0, hangs_up=True)]
    assert pull_request.put_comment("new", key="check", is_open=True) == "unchanged"
    assert len(azure.threads) == 1


def test_a_status_has_the_name_that_a_branch_policy_requires(azure: AzureRepos, pull_request: AzurePullRequest) -> None:
    pull_request.put_status(name="llmops/check", state="inconclusive", summary="x" * 2000, link="")
    (status,) = azure.statuses
    assert status["context"] == {"genre": "llmops", "name": "llmops/check"}
    assert (status["state"], len(status["description"])) == ("failed", 1000)


def test_a_missing_permission_is_told_in_the_services_words(azure: AzureRepos, pull_request: AzurePullRequest) -> None:
    azure.trouble = [None, None, NOT_ALLOWED]
    with pytest.raises(BackendError, match="TF401027: You need the Git 'PullRequestContribute' permission"):
        pull_request.put_comment("new", key="check", is_open=True)


def test_a_page_to_sign_in_is_a_refusal(azure: AzureRepos, pull_request: AzurePullRequest) -> None:
    azure.trouble = [SIGN_IN]
    with pytest.raises(BackendError, match="the answer is no JSON"):
        pull_request.put_comment("new", key="check", is_open=True)


@pytest.mark.parametrize(
    "change",
    [{"SYSTEM_PULLREQUEST_PULLREQUESTID": ""}, {"BUILD_REPOSITORY_PROVIDER": "GitHub"}, {"SYSTEM_ACCESSTOKEN": ""}],
)
def test_a_job_that_cannot_comment_says_why(azure: AzureRepos, change: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        open_azure_pull_request({**azure.environment(), **change})
