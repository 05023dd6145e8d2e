"""The issue that is open while a scheduled evaluation fails: what the entries of one evaluation do to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from llmops.commands.scheduled_issue import tell_issues
from llmops.config.model import Alerts, Dataset, Environment, Experiment, Project
from llmops.errors import ExitCode
from llmops.history.entry import HistoryEntry
from tests.hosts.azure_double import AzureRepos
from tests.hosts.github_double import FORBIDDEN, GitHub
from tests.hosts.rest_double import serve
from tests.hosts.surroundings import build_context
from tests.reports.histories import build_entry, error_entry

PASS, FAIL, ERROR = build_entry(9, value=0.9), build_entry(9, value=0.7), error_entry(9)
UNSURE = replace(PASS, outcome="inconclusive", exit_code=11)


@pytest.fixture
def github() -> Iterator[GitHub]:
    service = GitHub()
    with serve(service):
        yield service


def project(alerts: Alerts | None = None) -> Project:
    names = ("prod", "dev")
    return Project(
        root=Path("/nowhere"),
        state=Path("/nowhere/.llmops"),
        experiments={"tiny": Experiment(name="tiny", flow="flow", datasets={"rows": Dataset(path="rows.jsonl")})},
        environments={name: Environment(name=name, alerts=alerts or Alerts()) for name in names},
    )


def tell(github: GitHub, folder: Path, entries: Sequence[HistoryEntry], alerts: Alerts | None = None) -> list[str]:
    context = build_context(folder, env=github.environment(folder))
    troubles = tell_issues(context, project(alerts), entries, entries, sleep=lambda _: None)
    assert {one.code for one in troubles} <= {ExitCode.PASS}
    return [one.sentence for one in troubles]


def states(github: GitHub) -> list[str]:
    return [issue["state"] for issue in github.issues]


def test_a_broken_limit_opens_an_issue_and_recovery_closes_it(github: GitHub, tmp_path: Path) -> None:
    tell(github, tmp_path, [FAIL])
    assert states(github) == ["open"]
    assert github.issues[0]["title"] == "web-classification does not pass its scheduled evaluation in prod"
    assert github.issues[0]["labels"] == [{"name": "llmops"}]
    tell(github, tmp_path, [PASS])
    assert states(github) == ["closed"]


def test_the_issue_stays_open_until_every_measurement_passes(github: GitHub, tmp_path: Path) -> None:
    flow = replace(PASS, id="flow", subject="flow")
    tell(github, tmp_path, [flow, FAIL])
    tell(github, tmp_path, [flow, UNSURE])
    assert states(github) == ["open"]
    tell(github, tmp_path, [flow, PASS])
    assert states(github) == ["closed"]


@pytest.mark.parametrize("entry", [UNSURE, ERROR])
def test_missing_evidence_opens_no_issue_and_closes_none(github: GitHub, tmp_path: Path, entry: HistoryEntry) -> None:
    tell(github, tmp_path, [entry])
    assert states(github) == []
    tell(github, tmp_path, [FAIL])
    before = github.issues[0]["body"]
    tell(github, tmp_path, [entry])
    assert states(github) == ["open"]
    assert github.issues[0]["body"] != before


def test_each_experiment_and_environment_has_its_own_issue(github: GitHub, tmp_path: Path) -> None:
    tell(github, tmp_path, [FAIL, replace(FAIL, id="dev", environment="dev"), replace(FAIL, id="o", experiment="tiny")])
    assert states(github) == ["open"] * 3
    tell(github, tmp_path, [replace(PASS, id="dev", environment="dev")])
    assert states(github) == ["open", "closed", "open"]


def test_an_environment_may_want_no_issue(github: GitHub, tmp_path: Path) -> None:
    tell(github, tmp_path, [FAIL], Alerts(enabled=False))
    assert github.calls == []


def test_what_cannot_be_told_warns_and_the_other_issues_are_told(github: GitHub, tmp_path: Path) -> None:
    github.trouble = [FORBIDDEN]
    (warning,) = tell(github, tmp_path, [FAIL, replace(FAIL, id="dev", environment="dev")])
    assert warning.startswith("the issue of 'web-classification' in 'prod' was not told: ")
    assert "status 403" in warning
    assert states(github) == ["open"]


def test_on_a_laptop_nobody_is_told(tmp_path: Path) -> None:
    context = build_context(tmp_path)
    assert tell_issues(context, project(), [FAIL], [FAIL], sleep=lambda _: None) == []


def test_azure_boards_gets_a_work_item_in_html(tmp_path: Path) -> None:
    service = AzureRepos()
    with serve(service):
        context = build_context(tmp_path, env=service.environment())
        assert tell_issues(context, project(), [FAIL], [FAIL], sleep=lambda _: None) == []
        (item,) = service.items
        assert item["fields"]["System.Tags"] == "llmops; llmops.scheduled:web-classification:prod"
        assert "<code>accuracy min 0.8: 0.7</code>" in item["fields"]["System.Description"]
