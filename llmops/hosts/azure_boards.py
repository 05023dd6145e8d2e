"""Work items of Azure Boards.

Source: learn.microsoft.com/rest/api/azure/devops/wit: WIQL, work items and the states of work item types, version 7.1.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import quote

from llmops.errors import BackendError, TransientError, UsageError
from llmops.hosts.azure_pull_request import VERSION, open_client, who_am_i
from llmops.hosts.host import Env
from llmops.hosts.issues import Change, Text
from llmops.hosts.rest import RestClient, StaleError

PATCH_TYPE = "application/json-patch+json"
PER_REQUEST = 200
"""Work items that one request may ask for."""

_ATTEMPTS = 3
_OVER = ("Completed", "Removed")
_DONE = "Completed"
_STATE, _DESCRIPTION, _TAGS = (f"System.{name}" for name in ("State", "Description", "Tags"))
_FIELDS = ("System.Id", "System.Rev", _STATE, _TAGS, _DESCRIPTION, "System.CreatedBy")


@dataclass(frozen=True, kw_only=True)
class AzureBoards:
    """See `hosts.issues.Issues`; issues are work items of one type.

    Attributes:
        project: its name, as it stands in addresses.
        work_item_type: as the project's process calls it.
    """

    client: RestClient
    project: str
    work_item_type: str

    def open(self, *, key: str, title: str, text: Text, labels: Sequence[str]) -> Change:
        """See `Issues.open`."""
        for attempt in range(1, _ATTEMPTS + 1):
            if self._find(key):
                return self.update(key=key, text=text)
            fields = {
                "System.Title": title[:255],
                _DESCRIPTION: _description(key, text),
                _TAGS: "; ".join([*labels, _tag(key)]),
            }
            path = f"{self.project}/_apis/wit/workitems/${quote(self.work_item_type)}"
            try:
                self._send("POST", path, fields)
                break
            except TransientError:
                # Whether it was opened is not known: look again before opening another.
                if attempt == _ATTEMPTS:
                    raise
        self._close_doubles(self._find(key))
        return "opened"

    def update(self, *, key: str, text: Text) -> Change:
        """See `Issues.update`."""
        return self._change(key, {_DESCRIPTION: _description(key, text)}, "updated")

    def close(self, *, key: str, text: Text) -> Change:
        """See `Issues.close`."""
        return self._change(key, {_DESCRIPTION: _description(key, text), _STATE: self._done_state()}, "closed")

    def _change(self, key: str, fields: Mapping[str, str], done: Change) -> Change:
        for attempt in range(1, _ATTEMPTS + 1):
            found = self._find(key)
            if not found:
                return "none"
            try:
                self._close_doubles(found)
                return self._patch(found[0], fields, done)
            except StaleError:
                # A person wrote meanwhile: look at what it says now, and keep it but for what is ours.
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError

    def _close_doubles(self, found: Sequence[Mapping[str, Any]]) -> None:
        for double in found[1:]:
            self._patch(double, {_STATE: self._done_state()}, "closed")

    def _patch(self, item: Mapping[str, Any], fields: Mapping[str, str], done: Change) -> Change:
        changed = {name: value for name, value in fields.items() if item["fields"].get(name) != value}
        if not changed:
            return "unchanged"
        self._send("PATCH", f"{self.project}/_apis/wit/workitems/{item['id']}", changed, rev=int(item["rev"]))
        return done

    def _send(self, method: Any, path: str, fields: Mapping[str, str], *, rev: int | None = None) -> None:
        # The revision is tested, so that what a person wrote meanwhile is not overwritten.
        steps: list[dict[str, Any]] = [] if rev is None else [{"op": "test", "path": "/rev", "value": rev}]
        steps += [{"op": "add", "path": f"/fields/{name}", "value": value} for name, value in fields.items()]
        self.client.call(method, path, body=steps, params=VERSION, media_type=PATCH_TYPE)

    def _find(self, key: str) -> Sequence[Mapping[str, Any]]:
        """List our open work items of a key, the oldest first."""
        over = self._states(_OVER)
        me = who_am_i(self.client)
        items = [item for item in self._tagged(key) if _is_ours(item, key, me)]
        return sorted(
            (item for item in items if item["fields"].get(_STATE) not in over), key=lambda item: int(item["id"])
        )

    def _tagged(self, key: str) -> list[Mapping[str, Any]]:
        tag = _tag(key).replace("'", "''")
        conditions = f"[System.TeamProject] = @project AND [System.Tags] CONTAINS '{tag}'"
        query = f"SELECT [System.Id] FROM WorkItems WHERE {conditions} ORDER BY [System.Id] DESC"  # noqa: S608 escaped above
        answer = self.client.call(
            "POST",
            f"{self.project}/_apis/wit/wiql",
            body={"query": query},
            params={**VERSION, "$top": str(PER_REQUEST)},
            is_safe=True,
        )
        numbers = [str(item["id"]) for item in answer.document["workItems"]]
        if not numbers:
            return []
        params = {**VERSION, "ids": ",".join(numbers), "fields": ",".join(_FIELDS), "errorPolicy": "omit"}
        found = self.client.call("GET", f"{self.project}/_apis/wit/workitems", params=params).document["value"]
        return [item for item in found if item]

    def _done_state(self) -> str:
        states = self._states((_DONE,))
        if not states:
            raise BackendError.of(
                "the work item type has no state that ends it", where=self.work_item_type, fix="Name another type."
            )
        return states[0]

    def _states(self, categories: Sequence[str]) -> list[str]:
        path = f"{self.project}/_apis/wit/workitemtypes/{quote(self.work_item_type)}/states"
        states = self.client.call("GET", path, params=VERSION).document["value"]
        return [str(state["name"]) for state in states if state["category"] in categories]


def _is_ours(item: Mapping[str, Any], key: str, me: str) -> bool:
    fields = item["fields"]
    author = fields.get("System.CreatedBy")
    tags = [tag.strip() for tag in str(fields.get(_TAGS, "")).split(";")]
    return isinstance(author, dict) and author.get("id") == me and _tag(key) in tags


def _tag(key: str) -> str:
    """Give the tag by which an item is found; a colon in a key stands between names, which have none."""
    return f"llmops.{key}"


def _description(key: str, text: Text) -> str:
    return f"{text.html}\n<p>{escape(f'Kept by llmops under the tag {_tag(key)}.')}</p>"


def open_azure_boards(env: Env, *, work_item_type: str, sleep: Callable[[float], None] = time.sleep) -> AzureBoards:
    """Open the work items of the project that this job runs for.

    Raises:
        UsageError: the job has no token; the message says what is missing.
    """
    project = env.get("SYSTEM_TEAMPROJECT", "")
    if not project:
        raise UsageError.of("no project", where="$SYSTEM_TEAMPROJECT")
    client = open_client(env, sleep=sleep)
    return AzureBoards(client=client, project=quote(project, safe=""), work_item_type=work_item_type)
