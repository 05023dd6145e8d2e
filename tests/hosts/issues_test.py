"""One issue on GitHub, one work item in Azure Boards: found, opened, updated, closed, whatever goes wrong meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

from llmops.errors import BackendError, TransientError, UsageError
from llmops.hosts.azure_boards import open_azure_boards
from llmops.hosts.github_issues import open_github_issues
from llmops.hosts.issues import Issues, Text
from tests.hosts.azure_double import ME, NOT_ALLOWED, SOMEBODY, AzureRepos
from tests.hosts.github_double import BAD_GATEWAY, BOT, FORBIDDEN, SECONDARY_LIMIT, TOO_MANY, GitHub
from tests.hosts.rest_double import Reply, Service, serve

KEY = "scheduled:tiny:prod"
TEXT, LATER = Text("it **fails**", "<p>it fails</p>"), Text("it still fails", "<p>it still fails</p>")
OVER = Text("it passes again", "<p>it passes again</p>")


class Place(Protocol):
    """One host with its issues, as a test looks at it."""

    waits: list[float]
    lookups: int
    """Requests before an issue is opened."""
    refusal: Reply

    @property
    def service(self) -> Service: ...

    def client(self) -> Issues: ...

    def open_now(self) -> list[str]: ...

    def texts(self) -> list[str]: ...

    def forge(self) -> None: ...

    def rival(self) -> None: ...


@dataclass
class OnGitHub:
    """GitHub."""

    service: GitHub
    folder: Path
    waits: list[float] = field(default_factory=list)
    lookups: int = 1
    refusal: Reply = FORBIDDEN

    def client(self) -> Issues:
        return open_github_issues(self.service.environment(self.folder), sleep=self.waits.append)

    def open_now(self) -> list[str]:
        return [str(one["number"]) for one in self.service.issues if one["state"] == "open" and self._is_bot(one)]

    def texts(self) -> list[str]:
        return [one["body"].replace("\r\n", "\n") for one in self.service.issues]

    def forge(self) -> None:
        self.service.open_issue("mallory", f"<!-- llmops:{KEY} -->\nmine")
        self.service.open_issue(BOT, f"<!-- llmops:{KEY} -->\na pull request", is_pull=True)
        self.service.open_issue(BOT, f"see <!-- llmops:{KEY} -->")

    def rival(self) -> None:
        self.service.open_issue(BOT, f"<!-- llmops:{KEY} -->\nfrom another job")

    def _is_bot(self, issue: dict[str, Any]) -> bool:
        return issue["user"]["login"] == BOT and issue["body"].startswith("<!--") and "pull_request" not in issue


@dataclass
class OnAzure:
    """Azure Boards."""

    service: AzureRepos
    waits: list[float] = field(default_factory=list)
    lookups: int = 3
    refusal: Reply = NOT_ALLOWED

    def client(self) -> Issues:
        return open_azure_boards(self.service.environment(), work_item_type="Issue", sleep=self.waits.append)

    def open_now(self) -> list[str]:
        fields = [one["fields"] for one in self.service.items]
        mine = [one for one in fields if one["System.CreatedBy"]["id"] == ME and f"llmops.{KEY}" in one["System.Tags"]]
        return [str(one["System.Id"]) for one in mine if one["System.State"] != "Done"]

    def texts(self) -> list[str]:
        return [one["fields"]["System.Description"] for one in self.service.items]

    def forge(self) -> None:
        self.service.add_item(SOMEBODY, f"llmops.{KEY}", description="mine")
        self.service.add_item(ME, f"llmops.{KEY}-2", description="another key")

    def rival(self) -> None:
        self.service.add_item(ME, f"llmops; llmops.{KEY}", description="from another job")


@pytest.fixture(params=["github", "azure"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    service = GitHub() if request.param == "github" else AzureRepos()
    with serve(service):
        yield OnGitHub(service, tmp_path) if isinstance(service, GitHub) else OnAzure(service)


def test_an_issue_is_opened_updated_and_closed(place: Place) -> None:
    issues = place.client()
    assert issues.open(key=KEY, title="tiny fails", text=TEXT, labels=["llmops"]) == "opened"
    assert issues.open(key=KEY, title="tiny fails", text=LATER, labels=["llmops"]) == "updated"
    assert (len(place.open_now()), len(place.texts())) == (1, 1)
    assert issues.close(key=KEY, text=OVER) == "closed"
    assert place.open_now() == []
    assert "it passes again" in place.texts()[0]


def test_a_repeated_step_changes_nothing(place: Place) -> None:
    issues = place.client()
    issues.open(key=KEY, title="tiny fails", text=TEXT, labels=[])
    before = len(place.service.calls)
    assert issues.open(key=KEY, title="tiny fails", text=TEXT, labels=[]) == "unchanged"
    assert not [call for call in place.service.calls[before:] if call.startswith("PATCH")]
    assert issues.close(key=KEY, text=OVER) == "closed"
    assert issues.close(key=KEY, text=OVER) == "none"


def test_without_an_open_issue_nothing_is_updated_or_closed(place: Place) -> None:
    assert place.client().update(key=KEY, text=TEXT) == "none"
    assert place.client().close(key=KEY, text=OVER) == "none"
    assert place.texts() == []


def test_an_issue_that_was_closed_is_not_opened_again_but_followed_by_a_new_one(place: Place) -> None:
    issues = place.client()
    issues.open(key=KEY, title="tiny fails", text=TEXT, labels=[])
    issues.close(key=KEY, text=OVER)
    assert issues.open(key=KEY, title="tiny fails", text=TEXT, labels=[]) == "opened"
    assert (len(place.open_now()), len(place.texts())) == (1, 2)


def test_nobody_elses_issue_is_touched_even_if_it_bears_the_mark(place: Place) -> None:
    place.forge()
    before = place.texts()
    issues = place.client()
    assert issues.close(key=KEY, text=OVER) == "none"
    assert issues.open(key=KEY, title="tiny fails", text=TEXT, labels=[]) == "opened"
    assert place.texts()[: len(before)] == before


def test_keys_are_told_apart(place: Place) -> None:
    issues = place.client()
    for key in (KEY, f"{KEY}-2", "scheduled:tiny:dev"):
        assert issues.open(key=key, title="tiny fails", text=TEXT, labels=[]) == "opened"
    assert issues.close(key=KEY, text=OVER) == "closed"
    assert issues.update(key=f"{KEY}-2", text=LATER) == "updated"


def test_of_two_that_were_opened_at_once_the_older_stays(place: Place) -> None:
    issues = place.client()
    place.rival()
    place.rival()
    first, _ = place.open_now()
    assert issues.update(key=KEY, text=LATER) == "updated"
    assert place.open_now() == [first]


def test_an_issue_whose_opening_was_not_heard_is_not_opened_twice(place: Place) -> None:
    place.service.trouble = [*[None] * place.lookups, Reply(0, hangs_up=True)]
    assert place.client().open(key=KEY, title="tiny fails", text=TEXT, labels=[]) in ("updated", "unchanged")
    assert (len(place.open_now()), len(place.texts())) == (1, 1)


def test_patience_where_the_service_asks_for_it(place: Place) -> None:
    place.service.trouble = [TOO_MANY, SECONDARY_LIMIT, BAD_GATEWAY]
    assert place.client().open(key=KEY, title="tiny fails", text=TEXT, labels=[]) == "opened"
    assert place.waits[:2] == [2.0, 3.0]


def test_a_service_that_stays_down_is_said(place: Place) -> None:
    place.service.trouble = [BAD_GATEWAY] * 20
    with pytest.raises(TransientError, match="status 502"):
        place.client().open(key=KEY, title="tiny fails", text=TEXT, labels=[])


def test_a_job_that_may_not_is_told_why(place: Place) -> None:
    place.service.trouble = [place.refusal]
    with pytest.raises(BackendError, match="status 403"):
        place.client().open(key=KEY, title="tiny fails", text=TEXT, labels=[])
    assert place.waits == []


def test_an_issue_on_a_later_page_is_found(tmp_path: Path) -> None:
    with serve(GitHub(page_size=2)) as service:
        assert isinstance(service, GitHub)
        place = OnGitHub(service, tmp_path)
        place.rival()
        for number in range(7):
            service.open_issue("ana", f"question {number}")
        assert place.client().close(key=KEY, text=OVER) == "closed"


def test_a_text_that_is_too_long_is_cut_at_the_end_of_a_line(tmp_path: Path) -> None:
    with serve(GitHub()) as service:
        assert isinstance(service, GitHub)
        text = Text("a line\n" * 20_000, "")
        OnGitHub(service, tmp_path).client().open(key=KEY, title="x" * 400, text=text, labels=[])
        (body,) = (one["body"].replace("\r\n", "\n") for one in service.issues)
        assert len(body) <= 65_536
        assert body.endswith("a line\n\n_Cut; the report of the run has everything._\n")


def test_a_type_of_work_item_that_the_process_does_not_have_is_said() -> None:
    with serve(AzureRepos()) as service:
        assert isinstance(service, AzureRepos)
        service.trouble = [Reply(404, {"message": "VS402323: Work item type Bug does not exist"})]
        boards = open_azure_boards(service.environment(), work_item_type="Issue", sleep=lambda _: None)
        with pytest.raises(BackendError, match="VS402323"):
            boards.open(key=KEY, title="tiny fails", text=TEXT, labels=[])


CHANGED = Reply(412, {"message": "VS403208: The work item has been changed."})


def test_an_item_that_a_person_changes_meanwhile_is_looked_at_again() -> None:
    with serve(AzureRepos()) as service:
        assert isinstance(service, AzureRepos)
        place = OnAzure(service)
        place.rival()
        service.trouble = [None, None, None, None, CHANGED]
        assert place.client().update(key=KEY, text=LATER) == "updated"
        assert "it still fails" in place.texts()[0]


def test_an_item_that_is_changed_all_the_time_is_left_alone() -> None:
    with serve(AzureRepos()) as service:
        assert isinstance(service, AzureRepos)
        place = OnAzure(service)
        place.rival()
        service.trouble = [None, None, None, None, CHANGED] * 3
        with pytest.raises(BackendError, match="status 412"):
            place.client().update(key=KEY, text=LATER)
        assert place.texts() == ["from another job"]


def test_a_job_without_a_token_is_told_what_to_give() -> None:
    with pytest.raises(UsageError, match="GITHUB_TOKEN"):
        open_github_issues({"GITHUB_REPOSITORY": "octo/cat"})
    with pytest.raises(UsageError, match="SYSTEM_ACCESSTOKEN"):
        open_azure_boards({"SYSTEM_TEAMPROJECT": "p"}, work_item_type="Issue")
