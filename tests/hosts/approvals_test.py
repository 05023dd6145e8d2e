"""Who approved a run, as GitHub tells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmops.errors import BackendError
from llmops.hosts.approvals import find_approvals
from tests.hosts.github_double import FORBIDDEN, GitHub
from tests.hosts.rest_double import serve


def review(login: str, *environments: str, state: str = "approved") -> dict[str, Any]:
    named = [{"id": 1, "name": name} for name in environments]
    return {"state": state, "comment": "fine", "environments": named, "user": {"login": login, "type": "User"}}


@pytest.fixture
def github() -> Iterator[GitHub]:
    service = GitHub()
    with serve(service):
        yield service


def test_who_approved_this_environment_is_named_once(github: GitHub, tmp_path: Path) -> None:
    github.reviews = [review("ann", "prod"), review("ann", "prod"), review("bo", "dev", "prod"), review("cy", "dev")]
    assert find_approvals(github.environment(tmp_path), "prod") == ["ann", "bo"]


def test_who_rejected_has_not_approved(github: GitHub, tmp_path: Path) -> None:
    github.reviews = [review("ann", "prod", state="rejected"), {"state": "approved", "environments": [], "user": None}]
    assert find_approvals(github.environment(tmp_path), "prod") == []


@pytest.mark.parametrize("change", [{"GITHUB_TOKEN": ""}, {"GITHUB_ACTIONS": ""}, {"GITHUB_RUN_ID": "7/x"}])
def test_without_a_job_of_github_or_its_token_nobody_is_named(
    github: GitHub, tmp_path: Path, change: dict[str, str]
) -> None:
    assert find_approvals({**github.environment(tmp_path), **change}, "prod") == ()
    assert github.calls == []


def test_a_token_that_may_not_read_actions_is_an_error(github: GitHub, tmp_path: Path) -> None:
    github.trouble = [FORBIDDEN]
    with pytest.raises(BackendError, match="Resource not accessible by integration"):
        find_approvals(github.environment(tmp_path), "prod")
