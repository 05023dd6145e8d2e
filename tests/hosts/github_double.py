"""GitHub's REST API, as far as `llmops comment` speaks to it.

Source of the shapes: docs.github.com/rest, issues/comments and checks/runs.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hosts.rest_double import Call, Reply, Service

TOKEN = "token-of-the-double"  # noqa: S105 it opens the double only
REPOSITORY = "octo/cat"
NUMBER = 7
COMMIT = "1f3c2d1" + "0" * 33
BOT = "github-actions[bot]"

FORBIDDEN = Reply(
    403,
    {
        "message": "Resource not accessible by integration",
        "documentation_url": "https://docs.github.com/rest/issues/comments#create-an-issue-comment",
        "status": "403",
    },
)
SECONDARY_LIMIT = Reply(403, {"message": "You have exceeded a secondary rate limit."}, {"Retry-After": "3"})
TOO_MANY = Reply(429, {"message": "Too many requests"}, {"Retry-After": "2"})
BAD_GATEWAY = Reply(502, text="<html><body>Unicorn!</body></html>", headers={"Content-Type": "text/html"})


@dataclass
class GitHub(Service):
    """One repository with one pull request."""

    comments: list[dict[str, Any]] = field(default_factory=list)
    check_runs: list[dict[str, Any]] = field(default_factory=list)
    pulls: list[dict[str, Any]] = field(default_factory=list)
    reviews: list[dict[str, Any]] = field(default_factory=list)
    issues: list[dict[str, Any]] = field(default_factory=list)
    page_size: int = 100

    def add(self, login: str, body: str) -> None:
        """Let somebody comment."""
        number = 100 + len(self.comments)
        user = {"login": login, "id": 41898282, "type": "Bot" if login.endswith("[bot]") else "User"}
        url = f"{self.url}/repos/{REPOSITORY}/issues/comments/{number}"
        self.comments.append({"id": number, "url": url, "user": user, "body": body.replace("\n", "\r\n")})

    def open_issue(self, login: str, body: str, *, title: str = "Something", is_pull: bool = False) -> dict[str, Any]:
        """Let somebody open an issue."""
        number = 11 + len(self.issues)
        user = {"login": login, "id": 41898282, "type": "Bot" if login.endswith("[bot]") else "User"}
        issue: dict[str, Any] = {
            "id": 9_000 + number, "number": number, "title": title, "user": user, "state": "open", "state_reason": None,
            "labels": [], "body": body.replace("\n", "\r\n"),
        }  # fmt: skip
        if is_pull:
            issue["pull_request"] = {"url": f"{self.url}/repos/{REPOSITORY}/pulls/{number}"}
        self.issues.append(issue)
        return issue

    def environment(self, folder: Path) -> dict[str, str]:
        """Give the variables of a job that runs for the pull request."""
        event = folder / "event.json"
        head = {"sha": COMMIT, "ref": "feature"}
        event.write_text(json.dumps({"action": "synchronize", "pull_request": {"number": NUMBER, "head": head}}))
        return {
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": self.url,
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_RUN_ID": "99",
            "GITHUB_TOKEN": TOKEN,
        }

    def finished_run(self, folder: Path, **changes: Any) -> dict[str, str]:
        """Give the variables of a job that the end of a fork's run has started."""
        env = self.environment(folder)
        run = {
            "id": 4711,
            "event": "pull_request",
            "conclusion": "failure",
            "head_branch": "feature",
            "head_sha": COMMIT,
            "head_repository": {"full_name": "fork/cat", "owner": {"login": "fork"}},
            "pull_requests": [],
            **changes,
        }
        Path(env["GITHUB_EVENT_PATH"]).write_text(json.dumps({"action": "completed", "workflow_run": run}))
        return env

    def answer(self, call: Call) -> Reply:
        """Check a request as GitHub does, and answer it."""
        self.expect(call.headers.get("accept") == "application/vnd.github+json", "Accept")
        self.expect(call.headers.get("x-github-api-version") == "2022-11-28", "X-GitHub-Api-Version")
        if call.headers.get("authorization") != f"Bearer {TOKEN}":
            return Reply(401, {"message": "Bad credentials", "status": "401"})
        for (method, pattern), handler in _ROUTES.items():
            found = re.fullmatch(pattern, call.path)
            if call.method == method and found:
                reply: Reply = handler(self, call, *found.groups())
                return reply
        self.mistakes.append(f"no such address: {call.method} {call.path}")
        return Reply(404, {"message": "Not Found", "status": "404"})

    def _list(self, call: Call) -> Reply:
        return self._page(call, self.comments)

    def _page(self, call: Call, items: list[dict[str, Any]]) -> Reply:
        page = int(call.query.get("page", "1"))
        size = min(int(call.query.get("per_page", "30")), self.page_size)
        shown = items[(page - 1) * size : page * size]
        has_more = page * size < len(items)
        others = "".join(f"&{key}={value}" for key, value in call.query.items() if key not in ("page", "per_page"))
        following = f'<{self.url}{call.path}?per_page={size}&page={page + 1}{others}>; rel="next"'
        return Reply(200, shown, {"Link": following} if has_more else {})

    def _list_issues(self, call: Call) -> Reply:
        self.expect(call.query.get("state") in ("open", "closed", "all"), "state")
        ordered = sorted(self.issues, key=lambda one: -int(one["number"]))
        return self._page(call, [one for one in ordered if one["state"] == call.query["state"]])

    def _create_issue(self, call: Call) -> Reply:
        self.expect(set(call.body) == {"title", "body", "labels"}, f"fields of an issue: {sorted(call.body)}")
        self.expect(0 < len(call.body["title"]) <= 256, "title")
        if len(call.body["body"]) > 65_536:
            return Reply(422, {"message": "Validation Failed", "errors": [{"code": "unprocessable", "field": "body"}]})
        issue = self.open_issue(BOT, call.body["body"], title=call.body["title"])
        issue["labels"] = [{"name": name} for name in call.body["labels"]]
        return Reply(201, issue)

    def _update_issue(self, call: Call, number: str) -> Reply:
        issue = next(one for one in self.issues if one["number"] == int(number))
        self.expect(issue["user"]["login"] == BOT and "pull_request" not in issue, "somebody else's issue is changed")
        self.expect(set(call.body) <= {"body", "state", "state_reason"}, f"fields of an issue: {sorted(call.body)}")
        self.expect(call.body.get("state", "closed") == "closed", "state")
        self.expect(call.body.get("state_reason", "completed") in ("completed", "not_planned"), "state_reason")
        issue.update({**call.body, "body": call.body.get("body", issue["body"]).replace("\n", "\r\n")})
        return Reply(200, issue)

    def _list_reviews(self, _: Call) -> Reply:
        return Reply(200, self.reviews)

    def _list_pulls(self, call: Call) -> Reply:
        self.expect(call.query.get("state") == "open", "state")
        return Reply(200, [one for one in self.pulls if call.query.get("head") in (None, one["head"]["label"])])

    def _create(self, call: Call) -> Reply:
        if refused := self._refuse(call):
            return refused
        self.add(BOT, call.body["body"])
        return Reply(201, self.comments[-1])

    def _update(self, call: Call, number: str) -> Reply:
        if refused := self._refuse(call):
            return refused
        comment = next(one for one in self.comments if one["id"] == int(number))
        self.expect(comment["user"]["login"] == BOT, "somebody else's comment is changed")
        comment["body"] = call.body["body"].replace("\n", "\r\n")
        return Reply(200, comment)

    def _refuse(self, call: Call) -> Reply | None:
        self.expect(set(call.body) == {"body"}, f"fields of a comment: {sorted(call.body)}")
        if 0 < len(call.body["body"]) <= 65_536:
            return None
        return Reply(422, {"message": "Validation Failed", "errors": [{"code": "unprocessable", "field": "data"}]})

    def _list_checks(self, call: Call, commit: str) -> Reply:
        runs = [run for run in self.check_runs if run["head_sha"] == commit and run["name"] == call.query["check_name"]]
        return Reply(200, {"total_count": len(runs), "check_runs": runs})

    def _create_check(self, call: Call) -> Reply:
        self.expect(call.body.get("head_sha") == COMMIT, "head_sha")
        self._judge_check(call.body)
        self.check_runs.append({"id": 500 + len(self.check_runs), **call.body})
        return Reply(201, self.check_runs[-1])

    def _update_check(self, call: Call, number: str) -> Reply:
        self._judge_check(call.body)
        run = next(one for one in self.check_runs if one["id"] == int(number))
        before = run["output"]["annotations"]
        run.update(call.body)
        run["output"]["annotations"] = [*before, *call.body["output"]["annotations"]]
        return Reply(200, run)

    def _judge_check(self, body: dict[str, Any]) -> None:
        self.expect(body["conclusion"] in {"success", "failure", "neutral"}, f"conclusion {body['conclusion']}")
        self.expect(len(body["output"]["annotations"]) <= 50, "more than 50 annotations")
        for one in body["output"]["annotations"]:
            needed = {"path", "start_line", "end_line", "annotation_level", "message"}
            self.expect(needed <= set(one), f"fields of an annotation: {sorted(one)}")
            self.expect(one["annotation_level"] in {"notice", "warning", "failure"}, one["annotation_level"])


_COMMENTS = rf"/repos/{REPOSITORY}/issues/{NUMBER}/comments"
_ROUTES: dict[tuple[str, str], Any] = {
    ("GET", _COMMENTS): GitHub._list,
    ("POST", _COMMENTS): GitHub._create,
    ("PATCH", rf"/repos/{REPOSITORY}/issues/comments/(\d+)"): GitHub._update,
    ("GET", rf"/repos/{REPOSITORY}/actions/runs/99/approvals"): GitHub._list_reviews,
    ("GET", rf"/repos/{REPOSITORY}/pulls"): GitHub._list_pulls,
    ("GET", rf"/repos/{REPOSITORY}/issues"): GitHub._list_issues,
    ("POST", rf"/repos/{REPOSITORY}/issues"): GitHub._create_issue,
    ("PATCH", rf"/repos/{REPOSITORY}/issues/(\d+)"): GitHub._update_issue,
    ("GET", rf"/repos/{REPOSITORY}/commits/([0-9a-f]{{40}})/check-runs"): GitHub._list_checks,
    ("POST", rf"/repos/{REPOSITORY}/check-runs"): GitHub._create_check,
    ("PATCH", rf"/repos/{REPOSITORY}/check-runs/(\d+)"): GitHub._update_check,
}
