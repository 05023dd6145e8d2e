"""What a run on Azure is called."""

from __future__ import annotations

import pytest

from llmops.backends.azure.work import pull_request_of


@pytest.mark.parametrize(
    ("env", "number"),
    [
        ({"GITHUB_REF": "refs/pull/17/merge"}, "17"),
        ({"GITHUB_REF": "refs/heads/main"}, ""),
        ({"SYSTEM_PULLREQUEST_PULLREQUESTNUMBER": "8", "SYSTEM_PULLREQUEST_PULLREQUESTID": "9"}, "8"),
        ({"SYSTEM_PULLREQUEST_PULLREQUESTID": "9"}, "9"),
        ({}, ""),
    ],
)
def test_the_pull_request_is_that_of_the_ci_system(env: dict[str, str], number: str) -> None:
    assert pull_request_of(env) == number
