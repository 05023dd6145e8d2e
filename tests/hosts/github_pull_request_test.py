"""One comment and one check run on GitHub, against a double of its REST API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmops.errors import BackendError, UsageError
from llmops.hosts.github_pull_request import GitHubPullRequest, open_github_pull_request
from llmops.hosts.host import Annotation
from tests.hosts.github_double import BAD_GATEWAY, BOT, FORBIDDEN, SECONDARY_LIMIT, TOO_MANY, GitHub
from tests.hosts.rest_double import Reply, serve

WAITS: list[float] = []


@pytest.fixture
def github() -> Iterator[GitHub]:
    WAITS.clear()
    service = GitHub()
    with serve(service):
        yield service


@pytest.fixture
def pull_request(github: GitHub, tmp_path: Path) -> GitHubPullRequest:
    return open_github_pull_request(github.environment(tmp_path), sleep=WAITS.append)


def test_a_comment_is_created_once_and_then_updated(github: GitHub, pull_request: GitHubPullRequest) -> None:
    told = [pull_request.put_comment(body, key="check", is_open=True) for body in ("one", "two", "two")]
    assert told == ["created", "updated", "unchanged"]
    assert [one["body"] for one in github.comments] == ["<!-- llmops:check -->\r\ntwo"]


def test_comments_of_two_keys_stand_beside_each_other(github: GitHub, pull_request: GitHubPullRequest) -> None:
    for key in ("check", "nightly", "check"):
        pull_request.put_comment(key, key=key, is_open=True)
    assert len(github.comments) == 2


def test_a_comment_of_somebody_else_with_our_mark_is_never_touched(
    github: GitHub, pull_request: GitHubPullRequest
) -> None:
    github.add("mallory", "<!-- llmops:check -->\nmine")
    assert pull_request.put_comment("ours", key="check", is_open=True) == "created"
    assert [one["user"]["login"] for one in github.comments] == ["mallory", BOT]


def test_our_comment_that_only_quotes_the_mark_is_another_one(github: GitHub, pull_request: GitHubPullRequest) -> None:
    github.add(BOT, "see `<!-- llmops:check -->`")
    assert pull_request.put_comment("ours", key="check", is_open=True) == "created"


def test_our_comment_is_found_on_a_later_page(github: GitHub, pull_request: GitHubPullRequest) -> None:
    github.page_size = 2
    for at in range(5):
        github.add("alice", f"comment {at}")
    github.add(BOT, "<!-- llmops:check -->\nold")
    assert pull_request.put_comment("new", key="check", is_open=True) == "updated"
    assert len(github.comments) == 6


def test_the_next_page_is_not_followed_to_another_host(github: GitHub, pull_request: GitHubPullRequest) -> None:
    github.trouble = [Reply(200, [], {"Link": '<http://127.0.0.2:9/comments?page=2>; rel="next"'})]
    assert pull_request.put_comment("new", key="check", is_open=True) == "created"


@pytest.mark.parametrize(
    ("trouble", "wait_s"), [(TOO_MANY, 2.0), (SECONDARY_LIMIT, 3.0), (BAD_GATEWAY, 1.0), (Reply(503), 1.0)]
)
def test_a_read_that_meets_trouble_is_repeated_after_the_time_asked_for(
    github: GitHub, pull_request: GitHubPullRequest, trouble: Reply, wait_s: float
) -> None:
    github.trouble = [trouble]
    assert pull_request.put_comment("new", key="check", is_open=True) == "created"
    assert [wait_s] == WAITS


def test_a_creation_that_got_no_answer_is_not_made_twice(github: GitHub, pull_request: GitHubPullRequest) -> None:
    github.trouble = [None, Reply(0, hangs_up=True)]
    assert pull_request.put_comment("new", key="check", is_open=True) == "unchanged"
    assert len(github.comments) == 1


def test_a_service_that_asks_for_an_hour_is_given_up_without_waiting(
    github: GitHub, pull_request: GitHubPullRequest
) -> None:
    github.trouble = [Reply(429, {"message": "later"}, {"Retry-After": "3600"})] * 3
    with pytest.raises(BackendError, match="GET failed"):
        pull_request.put_comment("new", key="check", is_open=True)
    assert WAITS == []


def test_a_refusal_is_not_repeated(github: GitHub, pull_request: GitHubPullRequest) -> None:
    github.trouble = [None, FORBIDDEN]
    with pytest.raises(BackendError) as caught:
        pull_request.put_comment("new", key="check", is_open=True)
    assert "status 403, Resource not accessible by integration" in str(caught.value)
    assert len(github.calls) == 2


def test_a_redirect_is_not_followed_with_the_token(github: GitHub, pull_request: GitHubPullRequest) -> None:
    github.trouble = [Reply(302, headers={"Location": "http://127.0.0.2:9/"})]
    with pytest.raises(BackendError, match="status 302"):
        pull_request.put_comment("new", key="check", is_open=True)


def test_the_token_is_in_no_message(github: GitHub, tmp_path: Path) -> None:
    env = {**github.environment(tmp_path), "GITHUB_TOKEN": "ghs_wrong_secret"}
    with pytest.raises(BackendError) as caught:
        open_github_pull_request(env).put_comment("new", key="check", is_open=True)
    assert "Bad credentials" in str(caught.value)
    assert "ghs_wrong_secret" not in str(caught.value)


def test_a_netrc_file_does_not_replace_the_token(
    pull_request: GitHubPullRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert pull_request.put_comment("new", key="check", is_open=True) == "created"


def test_a_check_run_is_created_once_and_holds_all_annotations(github: GitHub, pull_request: GitHubPullRequest) -> None:
    annotations = [Annotation(level="error", title="t", message=str(at), file="a.yaml", line=at) for at in range(120)]
    pull_request.put_status(name="llmops/check", state="fail", summary="failed", link="", annotations=annotations)
    pull_request.put_status(name="llmops/check", state="pass", summary="passed", link="http://127.0.0.1/run")
    (run,) = github.check_runs
    assert (run["conclusion"], run["details_url"]) == ("success", "http://127.0.0.1/run")
    assert [one["message"] for one in run["output"]["annotations"]] == [str(at) for at in range(120)]


@pytest.mark.parametrize("event", ["", "[]", "{}", '{"pull_request": null}', '{"pull_request": {"number": "7; rm"}}'])
def test_a_job_that_runs_for_no_pull_request_says_so(github: GitHub, tmp_path: Path, event: str) -> None:
    env = github.environment(tmp_path)
    Path(env["GITHUB_EVENT_PATH"]).write_text(event)
    with pytest.raises(UsageError, match="this job runs for no pull request"):
        open_github_pull_request(env)
