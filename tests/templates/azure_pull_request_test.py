"""The pull request pipeline of Azure Pipelines, run: our expander, real git, the real driver, bash."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.azure_double import NOT_ALLOWED, REPOSITORY, TOKEN, AzureRepos
from tests.projects import TinyProject
from tests.templates.azure_runner import Pipeline
from tests.templates.changes import HOSTILE, break_answers, commit_on_branch

pytestmark = pytest.mark.slow

CALLER = """\
resources:
  repositories:
    - repository: llmops
      type: git
      name: PROJECT/llmops
      ref: refs/tags/v1
extends:
  template: azure-pipelines/pull-request.yml@llmops
"""

PAST_THE_DRIVER = """\
import os
from pathlib import Path

process = Path("/proc/self")
while b"\\0check\\0" not in (process / "cmdline").read_bytes():
    process = Path("/proc", (process / "stat").read_text().rpartition(")")[2].split()[1])
with open(process / "fd" / "1", "w") as log:
    log.write("\\n##vso[task.setvariable variable=PATH]pwned\\n##vso[artifact.upload artifactname=x]/etc/passwd\\n")"""


@pytest.fixture
def change(root: Path, tmp_path: Path, project: TinyProject, azure: AzureRepos) -> Any:
    def build(*, branch: str = "refs/heads/feature", number: int = 1) -> Pipeline:
        variables = {
            "Build.Reason": "PullRequest",
            "Build.BuildId": str(98 + number),
            "Build.Repository.ID": REPOSITORY,
            "Build.Repository.Provider": "TfsGit",
            "Build.SourceBranch": "refs/pull/22/merge",
            "Build.SourceVersionMessage": branch,
            "System.CollectionUri": f"{azure.url}/org/",
            "System.PullRequest.PullRequestId": "22",
            "System.PullRequest.SourceBranch": branch,
            "System.PullRequest.TargetBranch": "refs/heads/main",
            "System.TeamProject": "My Project",
        }
        return Pipeline(
            root=root,
            folder=tmp_path / f"run-{number}",
            origin=project.root,
            commit=commit_on_branch(project),
            variables=variables,
            token=TOKEN,
            env={"NO_COLOR": "1"},
        )

    return build


def test_a_good_change_is_green_and_its_thread_is_closed(change: Any, project: TinyProject, azure: AzureRepos) -> None:
    project.rows(*(f"other question {number}" for number in range(20)))
    pipeline = change()
    assert pipeline.run(CALLER) == {"plan": "Succeeded", "check": "Succeeded", "report": "Succeeded"}
    (thread,) = azure.threads
    assert thread["status"] == "closed"
    assert "tiny: passed" in thread["comments"][0]["content"]
    assert azure.statuses[0]["state"] == "succeeded"


def test_a_worse_change_is_red_and_says_so_at_the_line_in_the_tests_and_in_the_status(
    change: Any, project: TinyProject, azure: AzureRepos
) -> None:
    break_answers(project)
    pipeline = change()
    assert pipeline.run(CALLER) == {"plan": "Succeeded", "check": "Failed", "report": "Failed"}
    (check,) = pipeline.jobs["check"]
    assert any(level == "error" and text.startswith("tiny: accuracy") for level, text in check.issues), check.issues
    assert any("sourcepath=config/experiments/tiny.yaml;linenumber=14" in line for line in check.log)
    assert check.tests
    assert azure.threads[0]["status"] == "active"
    assert azure.statuses[0]["state"] == "failed"
    assert any("tiny: failed" in text for text in pipeline.jobs["report"][0].summaries)


def test_only_the_job_that_runs_nothing_of_the_change_sees_the_token(change: Any, project: TinyProject) -> None:
    break_answers(project)
    pipeline = change()
    pipeline.run(CALLER)
    (plan,), (check,), (report,) = (pipeline.jobs[name] for name in ("plan", "check", "report"))
    assert plan.secrets_seen == check.secrets_seen == set()
    assert report.secrets_seen == {"SYSTEM_ACCESSTOKEN"}


def test_a_change_that_writes_past_the_driver_sets_no_variable_and_uploads_nothing(
    change: Any, project: TinyProject
) -> None:
    project.replace("flows/answer/answer.py", "@tool", f"{PAST_THE_DRIVER}\n\n\n@tool")
    pipeline = change()
    pipeline.run(CALLER)
    (check,) = pipeline.jobs["check"]
    assert "##vso[task.setvariable variable=PATH]pwned" in check.log
    assert {"task.setvariable PATH", "artifact.upload"} <= set(check.refused)


def test_a_fork_without_the_permission_gets_its_verdict_and_a_warning(
    change: Any, project: TinyProject, azure: AzureRepos
) -> None:
    break_answers(project)
    azure.trouble = [NOT_ALLOWED]
    pipeline = change()
    assert pipeline.run(CALLER)["report"] == "Failed"
    (warning,) = [text for level, text in pipeline.jobs["report"][0].issues if level == "warning"]
    assert "PullRequestContribute" in warning
    assert azure.threads == []


def test_a_change_that_touches_no_experiment_is_green_without_a_check(
    change: Any, project: TinyProject, azure: AzureRepos
) -> None:
    project.write("README.md", "words")
    assert change().run(CALLER) == {"plan": "Succeeded", "check": "Skipped", "report": "Succeeded"}
    assert "No experiment is affected" in azure.threads[0]["comments"][0]["content"]


def test_a_second_push_updates_the_thread_and_opens_it_again(
    change: Any, project: TinyProject, azure: AzureRepos
) -> None:
    project.write("README.md", "words")
    change().run(CALLER)
    break_answers(project)
    change(number=2).run(CALLER)
    (thread,) = azure.threads
    assert thread["status"] == "active"
    assert "tiny: failed" in thread["comments"][0]["content"]


def test_failed_jobs_that_are_run_again_keep_artifacts_of_their_own(
    change: Any, project: TinyProject, azure: AzureRepos
) -> None:
    break_answers(project)
    first = change()
    first.run(CALLER)
    again = replace(first, attempt=2, jobs={})
    assert again.run(CALLER)["check"] == "Failed"
    assert len(azure.threads) == 1
    assert [one.name for one in sorted((again.folder / "artifacts").iterdir())] == [
        "llmops-check-check-0-1",
        "llmops-check-check-0-2",
    ]


def test_hostile_text_in_title_branch_rows_and_answers_does_nothing(
    change: Any, project: TinyProject, azure: AzureRepos, tmp_path: Path
) -> None:
    project.rows(HOSTILE, expected={HOSTILE: "x"})
    pipeline = change(branch=HOSTILE)
    pipeline.run(CALLER)
    assert list(tmp_path.rglob("pwned")) == []
    legs = [leg for legs in pipeline.jobs.values() for leg in legs]
    assert {line.partition("]")[0].partition(" ")[0] for leg in legs for line in leg.log if "##vso" in line} <= {
        "##vso[task.setvariable",
        "##vso[task.logissue",
        "##vso[task.uploadsummary",
    }
    assert "##vso" not in azure.threads[0]["comments"][0]["content"]


def test_an_expected_experiment_whose_job_was_lost_is_no_pass(
    change: Any, project: TinyProject, azure: AzureRepos
) -> None:
    project.write("flows/answer/answer.py", "not python (")
    assert change().run(CALLER)["report"] == "Failed"
    assert "`tiny` | ❌ no verdict" in azure.threads[0]["comments"][0]["content"]
