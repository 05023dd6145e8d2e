"""Pull requests on GitHub: one comment, one check run.

Source: docs.github.com/rest, issues/comments and checks/runs, API version 2022-11-28.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from llmops.errors import TransientError, UsageError
from llmops.hosts.host import Annotation, Env, Level
from llmops.hosts.pull_request import Posted, State
from llmops.hosts.rest import RestClient

AUTHOR = "github-actions[bot]"
"""Who comments with the token of a job."""

BODY_CHARACTERS = 65_536
PER_REQUEST = 50
"""Annotations that one request to the checks API may carry."""

_ATTEMPTS = 3
_CONCLUSIONS: Mapping[State, str] = {
    "pass": "success",
    "fail": "failure",
    "inconclusive": "failure",
    "error": "failure",
}
_LEVELS: Mapping[Level, str] = {"error": "failure", "warning": "warning", "note": "notice"}


class FinishedRun(NamedTuple):
    """A run that has ended: the address of its page, and GitHub's word for how."""

    link: str
    conclusion: str


@dataclass(frozen=True, kw_only=True)
class GitHubPullRequest:
    """One pull request; see `hosts.pull_request.PullRequest`.

    Attributes:
        repository: `owner/name`; number: of the pull request; commit: its newest.
        author: login whose comments are ours.
    """

    client: RestClient
    repository: str
    number: int
    commit: str
    author: str = AUTHOR

    def put_comment(self, body: str, *, key: str, is_open: bool) -> Posted:  # noqa: ARG002 a comment is never closed
        """Create the comment, or change what it says."""
        marker = f"<!-- llmops:{key} -->"
        text = f"{marker}\n{body}"
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._put(marker, text)
            except TransientError:
                # Whether it was created is not known: look again before creating another.
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError

    def put_status(
        self, *, name: str, state: State, summary: str, link: str, annotations: Sequence[Annotation] = ()
    ) -> None:
        """Create the check run of the commit, or change it; annotations are sent in as many requests as they need."""
        path = f"repos/{self.repository}/check-runs"
        batches = [annotations[at : at + PER_REQUEST] for at in range(0, max(len(annotations), 1), PER_REQUEST)]
        found = self._find_check_run(name)
        for batch in batches:
            body = {
                "name": name,
                "status": "completed",
                "conclusion": _CONCLUSIONS[state],
                **({"details_url": link} if link else {}),
                "output": {"title": summary[:255], "summary": summary, "annotations": [*_to_json(batch)]},
            }
            if found is None:
                found = int(self.client.call("POST", path, body={**body, "head_sha": self.commit}).document["id"])
            else:
                self.client.call("PATCH", f"{path}/{found}", body=body)

    def _put(self, marker: str, text: str) -> Posted:
        found = next((comment for comment in self._comments() if self._is_ours(comment, marker)), None)
        if found is None:
            self.client.call("POST", f"repos/{self.repository}/issues/{self.number}/comments", body={"body": text})
            return "created"
        # GitHub stores line ends and the ends of texts in its own way.
        if str(found["body"]).replace("\r\n", "\n").strip() == text.strip():
            return "unchanged"
        self.client.call("PATCH", f"repos/{self.repository}/issues/comments/{found['id']}", body={"body": text})
        return "updated"

    def _comments(self) -> Iterator[Mapping[str, Any]]:
        path = f"repos/{self.repository}/issues/{self.number}/comments"
        for page in self.client.pages(path, params={"per_page": "100"}):
            yield from page

    def _is_ours(self, comment: Mapping[str, Any], marker: str) -> bool:
        login = (comment.get("user") or {}).get("login")
        return login == self.author and str(comment.get("body") or "").startswith(marker)

    def _find_check_run(self, name: str) -> int | None:
        path = f"repos/{self.repository}/commits/{self.commit}/check-runs"
        document = self.client.call("GET", path, params={"check_name": name, "per_page": "100"}).document
        return next((int(run["id"]) for run in document["check_runs"] if run["name"] == name), None)


def _to_json(annotations: Sequence[Annotation]) -> Iterator[Mapping[str, Any]]:
    for one in annotations:
        if one.file:
            yield {
                "path": one.file,
                "start_line": max(one.line, 1),
                "end_line": max(one.line, 1),
                "annotation_level": _LEVELS[one.level],
                "title": one.title[:255],
                "message": one.message,
            }


def open_client(env: Env, *, sleep: Callable[[float], None] = time.sleep) -> RestClient:
    """Speak to GitHub with the job's token.

    Raises:
        UsageError: the job has none.
    """
    token = env.get("GITHUB_TOKEN", "")
    if not token:
        raise UsageError.of("no token", where="$GITHUB_TOKEN", fix="Give the step `env: GITHUB_TOKEN`.")
    return RestClient(
        env.get("GITHUB_API_URL", "https://api.github.com"),
        authorization=f"Bearer {token}",
        headers={"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"},
        sleep=sleep,
    )


def open_github_pull_request(
    env: Env, *, author: str = AUTHOR, sleep: Callable[[float], None] = time.sleep
) -> GitHubPullRequest:
    """Find the pull request that this job runs for.

    Raises:
        UsageError: the job runs for none, or has no token; the message says what is missing.
    """
    client = open_client(env, sleep=sleep)
    event = read_event(env.get("GITHUB_EVENT_PATH", ""))
    repository = env.get("GITHUB_REPOSITORY", "")
    run = event.get("workflow_run")
    found = _find_by_run(client, repository, run) if isinstance(run, dict) else event.get("pull_request")
    if not isinstance(found, dict) or not isinstance(found.get("number"), int):
        raise UsageError.of("this job runs for no pull request", where="$GITHUB_EVENT_PATH")
    commit = str((found.get("head") or {}).get("sha", ""))
    return GitHubPullRequest(client=client, repository=repository, number=found["number"], commit=commit, author=author)


def describe_finished_run(env: Env) -> FinishedRun | None:
    """Say which run this job reports on, when it was started by the end of another one; None otherwise.

    What that run left behind was made by code of the pull request. This comes from GitHub.
    """
    run = read_event(env.get("GITHUB_EVENT_PATH", "")).get("workflow_run")
    if not isinstance(run, dict) or not isinstance(run.get("id"), int):
        return None
    server = env.get("GITHUB_SERVER_URL", "https://github.com")
    link = f"{server}/{env.get('GITHUB_REPOSITORY', '')}/actions/runs/{run['id']}"
    conclusion = str(run.get("conclusion"))
    return FinishedRun(link=link, conclusion=conclusion if re.fullmatch("[a-z_]+", conclusion) else "unknown")


def _find_by_run(client: RestClient, repository: str, run: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Find the open pull request whose newest commit a run has judged.

    The event lists none for a fork. The number is never taken from what the run left behind.

    Raises:
        UsageError: the run was for no pull request, or there are newer commits by now.
    """
    owner = ((run.get("head_repository") or {}).get("owner") or {}).get("login")
    if run.get("event") != "pull_request" or not owner:
        raise UsageError.of("the run was for no pull request", where="$GITHUB_EVENT_PATH")
    params = {"head": f"{owner}:{run.get('head_branch')}", "state": "open", "per_page": "100"}
    for page in client.pages(f"repos/{repository}/pulls", params=params):
        for found in page:
            if (found.get("head") or {}).get("sha") == run.get("head_sha"):
                return dict(found)
    raise UsageError.of(
        "no open pull request stands at the commit that was checked",
        where="$GITHUB_EVENT_PATH",
        found=str(run.get("head_sha"))[:40],
        fix="A newer run reports on newer commits.",
    )


def read_event(path: str) -> Mapping[str, Any]:
    """Read what started the job; empty when it cannot be read."""
    try:
        event = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return event if isinstance(event, dict) else {}
