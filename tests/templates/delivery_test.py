"""Release, promote, roll back and evaluate, run on both systems: real endpoints of the local backend serve."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.github_double import GitHub
from tests.hosts.rest_double import serve
from tests.projects import TinyProject, make_project
from tests.templates.changes import HOSTILE, break_answers
from tests.templates.expressions import Expressions
from tests.templates.github_runner import link_state
from tests.templates.systems import System, azure_system, github_system

pytestmark = pytest.mark.slow

ENVIRONMENT = "backend: local\nrollout: {strategy: blue-green}\n"


@pytest.fixture(scope="module", params=["github", "azure-pipelines"])
def system(
    request: pytest.FixtureRequest, root: Path, tmp_path_factory: pytest.TempPathFactory, expressions: Expressions
) -> Iterator[System]:
    """A system in which the first version has been released to dev; its endpoints end with it."""
    folder = tmp_path_factory.mktemp("delivery")
    (folder / "origin").mkdir()
    project = make_project(folder / "origin")
    for name in ("dev", "prod"):
        project.write(f"config/environments/{name}.yaml", ENVIRONMENT)
    project.commit("environments")
    state = folder / "state"
    link_state(state, project.root)
    github = GitHub(reviews=[{"state": "approved", "environments": [{"name": "prod"}], "user": {"login": "ana"}}])
    with serve(github):
        if request.param == "github":
            found = github_system(root, folder, state, project, expressions, github)
        else:
            found = azure_system(root, folder, state, project)
        assert release(found) == {"release": "success"}
        yield found
        for name in ("tiny-dev", "tiny-prod"):
            project.run("endpoint", "stop", name)


def release(system: System) -> dict[str, str]:
    outcome = system.run("release", experiment="tiny", environment="dev")
    assert "failure" not in outcome.results.values(), outcome.texts
    return outcome.results


def last_rollout(system: System, environment: str) -> dict[str, Any]:
    """Read the newest record that a job of this system wrote about an environment."""
    paths = sorted(system.folder.rglob(".llmops/rollouts/*.json"), key=lambda path: path.stat().st_mtime_ns)
    records: list[dict[str, Any]] = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    return [record for record in records if record["environment"] == environment][-1]


def change(project: TinyProject, text: str = "# another version\n") -> None:
    """Change the flow on the main branch, without changing what it answers."""
    path = project.root / "flows/answer/answer.py"
    project.write("flows/answer/answer.py", path.read_text(encoding="utf-8") + text)
    project.commit("change")


def test_a_released_version_is_what_was_checked_and_serves(system: System) -> None:
    (version,) = system.serving("dev")
    outcome = system.run("release", experiment="tiny", environment="dev")
    assert outcome.results == {"release": "success"}
    assert f"version {version} has all traffic already" in outcome.texts["release"]
    assert set(outcome.logins["release"]) <= {"client", "connection"}
    assert outcome.logins["release"]
    assert outcome.artifacts[0].name.startswith("llmops-release-")


def test_what_is_registered_is_what_is_attested_where_the_system_can(system: System) -> None:
    outcome = system.run("release", experiment="tiny", environment="dev", **system.attest)
    shown = json.loads(system.ask("models", "show", "tiny", "--environment", "dev", "--json").out)
    assert outcome.attested == ({"tiny": shown["model"]["manifest"]} if system.attest else {})


def test_what_fails_its_gate_is_neither_registered_nor_deployed(system: System) -> None:
    before = system.serving("dev")
    text = (system.project.root / "flows/answer/answer.py").read_text(encoding="utf-8")
    break_answers(system.project)
    system.project.commit("worse")
    outcome = system.run("release", experiment="tiny", environment="dev")
    system.project.write("flows/answer/answer.py", text)
    system.project.commit("better")
    assert outcome.results == {"release": "failure"}
    assert "registered" not in outcome.texts["release"]
    assert "tiny: failed" in outcome.summaries
    assert system.serving("dev") == before


def test_a_promotion_that_is_refused_leaves_its_evidence_and_nothing_else(system: System) -> None:
    before = system.serving("prod")
    outcome = system.run("promote", experiment="tiny", from_="dev", to="prod", rejected=["prod"])
    assert outcome.results == {"evidence": "success", "promote": "rejected"}
    assert "promote" not in outcome.texts
    assert "# Promote tiny version" in outcome.summaries
    assert outcome.artifacts[0].name.startswith("llmops-evidence-")
    assert system.serving("prod") == before


def test_a_promotion_moves_the_approved_version_and_moves_nothing_when_it_is_run_again(system: System) -> None:
    first = system.run("promote", experiment="tiny", from_="dev", to="prod")
    assert first.results == {"evidence": "success", "promote": "success"}
    assert system.serving("prod") == system.serving("dev")
    assert last_rollout(system, "prod")["approvals"] == list(system.approvers)
    again = system.run("promote", experiment="tiny", from_="dev", to="prod", version=next(iter(system.serving("dev"))))
    assert again.results == first.results
    assert "has all traffic already" in again.texts["promote"]


@pytest.mark.parametrize("pipeline", ["release", "rollback"])
def test_what_is_not_approved_changes_nothing(system: System, pipeline: str) -> None:
    before = system.serving("dev")
    outcome = system.run(pipeline, experiment="tiny", environment="dev", rejected=["dev"])
    assert (outcome.results, outcome.texts) == ({pipeline: "rejected"}, {})
    assert system.serving("dev") == before


def test_a_version_that_does_not_serve_is_not_promoted(system: System) -> None:
    outcome = system.run("promote", experiment="tiny", from_="dev", to="prod", version="99")
    assert outcome.results == {"evidence": "failure", "promote": "skipped"}
    assert "version 99 is not what serves in environment 'dev'" in outcome.texts["evidence"]


def test_a_roll_back_returns_to_what_served_before_and_its_reason_is_only_a_text(system: System) -> None:
    before = system.serving("dev")
    change(system.project)
    assert release(system) == {"release": "success"}
    assert system.serving("dev") != before
    outcome = system.run("rollback", experiment="tiny", environment="dev", reason=HOSTILE)
    assert outcome.results == {"rollback": "success"}
    assert system.serving("dev") == before
    assert list(system.folder.rglob("pwned")) == []
    assert not [line for line in outcome.commands if "pwned" in line or "task.complete" in line]


@pytest.mark.parametrize("name", [HOSTILE, "--help", "--dry-run"])
def test_an_experiment_whose_name_is_a_command_or_an_option_is_an_unknown_experiment(system: System, name: str) -> None:
    for pipeline in ("release", "rollback"):
        outcome = system.run(pipeline, experiment=name, environment="dev")
        assert outcome.results == {pipeline: "failure"}
        assert not [line for line in outcome.commands if line.startswith(("::error::pwned", "##vso[task.complete"))]
    assert list(system.folder.rglob("pwned")) == []


def test_the_main_branch_and_what_serves_are_evaluated_and_the_reports_are_kept(system: System) -> None:
    outcome = system.run("evaluate", environment="dev", experiments="tiny")
    assert outcome.results == {"evaluate": "success"}
    assert outcome.artifacts[0].name.startswith("llmops-evaluate-")
    assert (outcome.artifacts[0] / "history.html").is_file()


def test_an_evaluation_that_fails_is_red_and_its_hostile_rows_do_nothing(system: System) -> None:
    rows = (system.project.root / "rows.jsonl").read_text(encoding="utf-8")
    system.project.rows(HOSTILE, expected={HOSTILE: "x"})
    system.project.commit("hostile rows")
    outcome = system.run("evaluate", environment="dev", experiments="tiny")
    system.project.write("rows.jsonl", rows)
    system.project.commit("rows again")
    assert outcome.results == {"evaluate": "failure"}
    assert not [line for line in outcome.commands if "pwned" in line or "task.complete" in line]
    assert list(system.folder.rglob("pwned")) == []
