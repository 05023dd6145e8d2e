"""Azure DevOps' REST API, as far as `llmops comment` speaks to it.

Source of the shapes: learn.microsoft.com/rest/api/azure/devops/git, pull request threads and statuses, version 7.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from tests.hosts.rest_double import Call, Reply, Service

TOKEN = "token-of-the-double"  # noqa: S105 it opens the double only
ME = "d6245f20-2af8-44f4-9451-8107cb2767db"
SOMEBODY = "3b5f0c34-4aec-4bf4-8708-1d36f0dbc468"
REPOSITORY = "2f3d611a-f012-4b39-b157-8db63f380226"
THREAD_STATES = {"active", "byDesign", "closed", "fixed", "pending", "unknown", "wontFix"}
STATUS_STATES = {"error", "failed", "notApplicable", "notSet", "partiallySucceeded", "pending", "succeeded"}

NOT_ALLOWED = Reply(
    403,
    {
        "$id": "1",
        "message": "TF401027: You need the Git 'PullRequestContribute' permission to perform this action.",
        "typeKey": "GitNeedsPermissionException",
        "errorCode": 0,
    },
)
SIGN_IN = Reply(203, text="<!DOCTYPE html><html>Sign In</html>", headers={"Content-Type": "text/html"})


@dataclass
class AzureRepos(Service):
    """One repository with one pull request."""

    threads: list[dict[str, Any]] = field(default_factory=list)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    items: list[dict[str, Any]] = field(default_factory=list)

    def add(self, author: str, content: str, *, status: str, key: str | None) -> dict[str, Any]:
        """Let somebody open a thread."""
        number = 140 + len(self.threads)
        properties = {"llmops.key": {"$type": "System.String", "$value": key}} if key else None
        comment = {"id": 1, "parentCommentId": 0, "author": {"id": author}, "content": content, "commentType": "text"}
        thread = {
            "id": number, "comments": [comment], "status": status, "properties": properties, "isDeleted": False
        }  # fmt: skip
        self.threads.append(thread)
        return thread

    def add_item(self, author: str, tags: str, *, state: str = "To Do", description: str = "") -> dict[str, Any]:
        """Let somebody open a work item."""
        fields = {
            "System.Id": 300 + len(self.items),
            "System.Rev": 1,
            "System.State": state,
            "System.Tags": tags,
            "System.Description": description,
            "System.CreatedBy": {"id": author, "displayName": "Somebody"},
        }
        self.items.append({"id": fields["System.Id"], "rev": 1, "fields": fields})
        return self.items[-1]

    def environment(self) -> dict[str, str]:
        """Give the variables of a job that runs for the pull request."""
        return {
            "TF_BUILD": "True",
            "BUILD_BUILDID": "99",
            "BUILD_REPOSITORY_ID": REPOSITORY,
            "BUILD_REPOSITORY_PROVIDER": "TfsGit",
            "SYSTEM_ACCESSTOKEN": TOKEN,
            "SYSTEM_COLLECTIONURI": f"{self.url}/org/",
            "SYSTEM_PULLREQUEST_PULLREQUESTID": "22",
            "SYSTEM_TEAMPROJECT": "My Project",
        }

    def answer(self, call: Call) -> Reply:
        """Check a request as Azure DevOps does, and answer it."""
        self.expect(call.query.get("api-version", "").startswith("7.1"), f"api-version of {call.path}")
        self.expect(call.headers.get("accept") == "application/json", "Accept")
        if call.headers.get("authorization") != f"Bearer {TOKEN}":
            return SIGN_IN
        for (method, pattern), handler in _ROUTES.items():
            found = re.fullmatch(pattern, call.path)
            if call.method == method and found:
                reply: Reply = handler(self, call, *found.groups())
                return reply
        self.mistakes.append(f"no such address: {call.method} {call.path}")
        return Reply(404, {"message": "Not found", "typeKey": "NotFoundException"})

    def _who(self, _: Call) -> Reply:
        return Reply(200, {"authenticatedUser": {"id": ME, "providerDisplayName": "Build Service"}})

    def _list(self, _: Call) -> Reply:
        return Reply(200, {"value": self.threads, "count": len(self.threads)})

    def _create(self, call: Call) -> Reply:
        self.expect(set(call.body) == {"comments", "status", "properties"}, f"thread: {sorted(call.body)}")
        self.expect(call.body["status"] in THREAD_STATES, f"status {call.body['status']}")
        (comment,) = call.body["comments"]
        self.expect(comment["parentCommentId"] == 0 and comment["commentType"] == "text", "first comment")
        key = call.body["properties"]["llmops.key"]["$value"]
        return Reply(200, self.add(ME, comment["content"], status=call.body["status"], key=key))

    def _update(self, call: Call, number: str) -> Reply:
        self.expect(set(call.body) == {"status"} and call.body["status"] in THREAD_STATES, f"thread: {call.body}")
        thread = self._thread(number)
        thread["status"] = call.body["status"]
        return Reply(200, thread)

    def _update_comment(self, call: Call, number: str, comment: str) -> Reply:
        self.expect(set(call.body) == {"content"} and comment == "1", f"comment {comment}: {sorted(call.body)}")
        found = self._thread(number)["comments"][0]
        self.expect(found["author"]["id"] == ME, "somebody else's comment is changed")
        found["content"] = call.body["content"]
        return Reply(200, found)

    def _thread(self, number: str) -> dict[str, Any]:
        return next(one for one in self.threads if one["id"] == int(number))

    def _status(self, call: Call) -> Reply:
        self.expect(set(call.body) <= {"state", "description", "context", "targetUrl"}, f"status: {sorted(call.body)}")
        self.expect(call.body["state"] in STATUS_STATES, f"state {call.body['state']}")
        self.statuses.append(call.body)
        return Reply(200, {"id": len(self.statuses), **call.body})

    def _states(self, _: Call) -> Reply:
        names = {"To Do": "Proposed", "Doing": "InProgress", "Done": "Completed"}
        return Reply(
            200, {"value": [{"name": name, "color": "b2b2b2", "category": kind} for name, kind in names.items()]}
        )

    def _query(self, call: Call) -> Reply:
        found = re.fullmatch(
            r"SELECT \[System\.Id\] FROM WorkItems WHERE \[System\.TeamProject\] = @project "
            r"AND \[System\.Tags\] CONTAINS '([^']+)' ORDER BY \[System\.Id\] DESC",
            call.body["query"],
        )
        self.expect(found, f"query: {call.body['query']}")
        wanted = found[1] if found else ""
        # CONTAINS on tags matches whole tags, in any case.
        tags = {
            item["id"]: [tag.strip().lower() for tag in item["fields"]["System.Tags"].split(";")] for item in self.items
        }
        numbers = sorted((number for number, names in tags.items() if wanted.lower() in names), reverse=True)
        limit = int(call.query.get("$top", "200"))
        return Reply(200, {"queryType": "flat", "workItems": [{"id": number} for number in numbers[:limit]]})

    def _list_items(self, call: Call) -> Reply:
        numbers = [int(number) for number in call.query["ids"].split(",")]
        self.expect(len(numbers) <= 200, "more than 200 work items")
        wanted = call.query["fields"].split(",")
        shown = [
            {**item, "fields": {name: value for name, value in item["fields"].items() if name in wanted}}
            for item in self.items
            if item["id"] in numbers
        ]
        return Reply(200, {"count": len(shown), "value": shown})

    def _create_item(self, call: Call, kind: str) -> Reply:
        if kind != "Issue":
            return Reply(404, {"message": "VS402323: Work item type does not exist in project", "typeKey": "NotFound"})
        values = self._read_patch(call)
        self.expect(set(values) == {"System.Title", "System.Description", "System.Tags"}, f"fields: {sorted(values)}")
        item = self.add_item(ME, values["System.Tags"], description=values["System.Description"])
        item["fields"]["System.Title"] = values["System.Title"]
        return Reply(200, item)

    def _update_item(self, call: Call, number: str) -> Reply:
        item = next(one for one in self.items if one["id"] == int(number))
        self.expect(item["fields"]["System.CreatedBy"]["id"] == ME, "somebody else's work item is changed")
        values = self._read_patch(call)
        self.expect("/rev" in values, "a change that tests no revision")
        if values.pop("/rev", item["rev"]) != item["rev"]:
            return Reply(412, {"message": "VS403208: The work item has been changed.", "typeKey": "TestFailed"})
        self.expect(set(values) <= {"System.Description", "System.State"}, f"fields: {sorted(values)}")
        item["fields"].update(values)
        item["rev"] += 1
        return Reply(200, item)

    def _read_patch(self, call: Call) -> dict[str, Any]:
        self.expect(
            call.headers["content-type"] == "application/json-patch+json", f"type {call.headers['content-type']}"
        )
        values = {}
        for step in call.body:
            self.expect(step["op"] in ("add", "test"), f"op {step['op']}")
            values[step["path"].removeprefix("/fields/")] = step["value"]
        return values


_PULL_REQUEST = rf"/org/My%20Project/_apis/git/repositories/{REPOSITORY}/pullRequests/22"
_WORK = r"/org/My%20Project/_apis/wit"
_ROUTES: dict[tuple[str, str], Any] = {
    ("GET", "/org/_apis/connectionData"): AzureRepos._who,
    ("GET", rf"{_PULL_REQUEST}/threads"): AzureRepos._list,
    ("POST", rf"{_PULL_REQUEST}/threads"): AzureRepos._create,
    ("PATCH", rf"{_PULL_REQUEST}/threads/(\d+)"): AzureRepos._update,
    ("PATCH", rf"{_PULL_REQUEST}/threads/(\d+)/comments/(\d+)"): AzureRepos._update_comment,
    ("POST", rf"{_PULL_REQUEST}/statuses"): AzureRepos._status,
    ("GET", rf"{_WORK}/workitemtypes/Issue/states"): AzureRepos._states,
    ("POST", rf"{_WORK}/wiql"): AzureRepos._query,
    ("GET", rf"{_WORK}/workitems"): AzureRepos._list_items,
    ("POST", rf"{_WORK}/workitems/\$([A-Za-z%0-9]+)"): AzureRepos._create_item,
    ("PATCH", rf"{_WORK}/workitems/(\d+)"): AzureRepos._update_item,
}
