"""Issues of a GitHub repository.

Source: docs.github.com/rest, issues/issues, API version 2022-11-28.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmops.errors import TransientError, UsageError
from llmops.hosts.github_pull_request import AUTHOR, BODY_CHARACTERS, open_client
from llmops.hosts.host import Env
from llmops.hosts.issues import Change, Text
from llmops.hosts.rest import RestClient

_ATTEMPTS = 3
_CUT = "\n\n_Cut; the report of the run has everything._\n"


@dataclass(frozen=True, kw_only=True)
class GitHubIssues:
    """See `hosts.issues.Issues`.

    Attributes:
        repository: `owner/name`.
        author: login whose issues are ours.
    """

    client: RestClient
    repository: str
    author: str = AUTHOR

    def open(self, *, key: str, title: str, text: Text, labels: Sequence[str]) -> Change:
        """See `Issues.open`."""
        for attempt in range(1, _ATTEMPTS + 1):
            if self._find(key):
                return self.update(key=key, text=text)
            body = {"title": title[:255], "body": _body(key, text), "labels": list(labels)}
            try:
                self.client.call("POST", f"repos/{self.repository}/issues", body=body)
                break
            except TransientError:
                # Whether it was opened is not known: look again before opening another.
                if attempt == _ATTEMPTS:
                    raise
        self._close_doubles(self._find(key))
        return "opened"

    def update(self, *, key: str, text: Text) -> Change:
        """See `Issues.update`."""
        return self._change(key, text, {}, "updated")

    def close(self, *, key: str, text: Text) -> Change:
        """See `Issues.close`."""
        return self._change(key, text, {"state": "closed", "state_reason": "completed"}, "closed")

    def _change(self, key: str, text: Text, more: Mapping[str, str], done: Change) -> Change:
        found = self._find(key)
        if not found:
            return "none"
        self._close_doubles(found)
        body = _body(key, text)
        # GitHub stores line ends and the ends of texts in its own way.
        if not more and str(found[0]["body"]).replace("\r\n", "\n").strip() == body.strip():
            return "unchanged"
        self._patch(found[0], {"body": body, **more})
        return done

    def _close_doubles(self, found: Sequence[Mapping[str, Any]]) -> None:
        for double in found[1:]:
            self._patch(double, {"state": "closed", "state_reason": "not_planned"})

    def _patch(self, issue: Mapping[str, Any], body: Mapping[str, str]) -> None:
        self.client.call("PATCH", f"repos/{self.repository}/issues/{issue['number']}", body=body)

    def _find(self, key: str) -> Sequence[Mapping[str, Any]]:
        """List our open issues of a key, the oldest first.

        Labels are not relied on: people change them, and GitHub drops them silently from who may not set any.
        """
        params = {"state": "open", "sort": "created", "direction": "desc", "per_page": "100"}
        pages = self.client.pages(f"repos/{self.repository}/issues", params=params)
        ours = [issue for page in pages for issue in page if self._is_ours(issue, key)]
        return sorted(ours, key=lambda issue: int(issue["number"]))

    def _is_ours(self, issue: Mapping[str, Any], key: str) -> bool:
        login = (issue.get("user") or {}).get("login")
        is_issue = "pull_request" not in issue
        return is_issue and login == self.author and str(issue.get("body") or "").startswith(_mark(key))


def _mark(key: str) -> str:
    return f"<!-- llmops:{key} -->"


def _body(key: str, text: Text) -> str:
    whole = f"{_mark(key)}\n{text.markdown}"
    if len(whole) <= BODY_CHARACTERS:
        return whole
    return whole[: BODY_CHARACTERS - len(_CUT)].rpartition("\n")[0] + _CUT


def open_github_issues(env: Env, *, author: str = AUTHOR, sleep: Callable[[float], None] = time.sleep) -> GitHubIssues:
    """Open the issues of the repository that this job runs for.

    Raises:
        UsageError: the job has no token; the message says what is missing.
    """
    repository = env.get("GITHUB_REPOSITORY", "")
    if "/" not in repository:
        raise UsageError.of("no repository", where="$GITHUB_REPOSITORY")
    return GitHubIssues(client=open_client(env, sleep=sleep), repository=repository, author=author)
