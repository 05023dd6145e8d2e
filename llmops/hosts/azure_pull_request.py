"""Pull requests in Azure Repos: one thread, one status.

Source: learn.microsoft.com/rest/api/azure/devops/git, pull request threads and statuses, API version 7.1.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from llmops.errors import TransientError, UsageError
from llmops.hosts.host import Annotation, Env
from llmops.hosts.pull_request import Posted, State
from llmops.hosts.rest import RestClient

GENRE = "llmops"
"""Of our statuses; a branch policy names it."""

PROPERTY = "llmops.key"
VERSION = {"api-version": "7.1"}
_PREVIEW = {"api-version": "7.1-preview"}
_ATTEMPTS = 3
_STATES: Mapping[State, str] = {"pass": "succeeded", "fail": "failed", "inconclusive": "failed", "error": "error"}


@dataclass(frozen=True, kw_only=True)
class AzurePullRequest:
    """One pull request; see `hosts.pull_request.PullRequest`.

    Attributes:
        path: of the pull request below the collection's address.
    """

    client: RestClient
    path: str

    def put_comment(self, body: str, *, key: str, is_open: bool) -> Posted:
        """Create the thread, or change its comment and its status."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._put(body, key, "active" if is_open else "closed")
            except TransientError:
                # Whether it was created is not known: look again before creating another.
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError

    def put_status(
        self,
        *,
        name: str,
        state: State,
        summary: str,
        link: str,
        annotations: Sequence[Annotation] = (),  # noqa: ARG002 a status holds none
    ) -> None:
        """Set the status that a branch policy can require."""
        body = {
            "state": _STATES[state],
            "description": summary[:1000],
            "context": {"genre": GENRE, "name": name},
            **({"targetUrl": link} if link else {}),
        }
        self.client.call("POST", f"{self.path}/statuses", body=body, params=VERSION)

    def _put(self, body: str, key: str, status: str) -> Posted:
        threads = self.client.call("GET", f"{self.path}/threads", params=VERSION).document["value"]
        me = who_am_i(self.client)
        thread = next((one for one in threads if _is_ours(one, key, me)), None)
        if thread is None:
            comment = {"parentCommentId": 0, "content": body, "commentType": "text"}
            properties = {PROPERTY: {"$type": "System.String", "$value": key}}
            created = {"comments": [comment], "status": status, "properties": properties}
            self.client.call("POST", f"{self.path}/threads", body=created, params=VERSION)
            return "created"
        place, first = f"{self.path}/threads/{thread['id']}", thread["comments"][0]
        is_same = str(first.get("content", "")).replace("\r\n", "\n").strip() == body.strip()
        if not is_same:
            self.client.call("PATCH", f"{place}/comments/{first['id']}", body={"content": body}, params=VERSION)
        if thread.get("status") != status:
            self.client.call("PATCH", place, body={"status": status}, params=VERSION)
        return "unchanged" if is_same and thread.get("status") == status else "updated"


def _is_ours(thread: Mapping[str, Any], key: str, me: str) -> bool:
    value = ((thread.get("properties") or {}).get(PROPERTY) or {}).get("$value")
    comments = thread.get("comments") or []
    if value != key or thread.get("isDeleted") or not comments or comments[0].get("isDeleted"):
        return False
    return bool((comments[0].get("author") or {}).get("id") == me)


def open_client(env: Env, *, sleep: Callable[[float], None] = time.sleep) -> RestClient:
    """Speak to Azure DevOps with the job's token.

    Raises:
        UsageError: the job has none.
    """
    token = env.get("SYSTEM_ACCESSTOKEN", "")
    if not token:
        fix = "Map it: `env: SYSTEM_ACCESSTOKEN: $(System.AccessToken)`."
        raise UsageError.of("no token", where="$SYSTEM_ACCESSTOKEN", fix=fix)
    return RestClient(
        env.get("SYSTEM_COLLECTIONURI", "").rstrip("/"),
        authorization=f"Bearer {token}",
        headers={"Accept": "application/json"},
        sleep=sleep,
    )


def who_am_i(client: RestClient) -> str:
    """Return the id of who the job's token speaks for."""
    return str(client.call("GET", "_apis/connectionData", params=_PREVIEW).document["authenticatedUser"]["id"])


def open_azure_pull_request(env: Env, *, sleep: Callable[[float], None] = time.sleep) -> AzurePullRequest:
    """Find the pull request that this job runs for.

    Raises:
        UsageError: the job runs for none, or has no token; the message says what is missing.
    """
    number = env.get("SYSTEM_PULLREQUEST_PULLREQUESTID", "")
    if not number.isdigit() or env.get("BUILD_REPOSITORY_PROVIDER", "TfsGit") != "TfsGit":
        raise UsageError.of("this job runs for no pull request of Azure Repos")
    client = open_client(env, sleep=sleep)
    project, repository = (quote(env.get(name, ""), safe="") for name in ("SYSTEM_TEAMPROJECT", "BUILD_REPOSITORY_ID"))
    return AzurePullRequest(client=client, path=f"{project}/_apis/git/repositories/{repository}/pullRequests/{number}")
