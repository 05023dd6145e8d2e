"""What our templates of Azure Pipelines become: judged by Azure's own language service, and held to our rules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.templates.azure_agent import refuse_unknown
from tests.templates.azure_expander import DEEPEST, MOST_FILES, Expander
from tests.templates.callers_test import written
from tools.check_templates import check_azure_service

PIPELINES = ("pull-request", "evaluate", "release", "promote", "rollback")


def expand(root: Path, name: str) -> tuple[dict[str, Any], Expander]:
    """Expand the pipeline that `llmops init` writes."""
    expander = Expander(repositories={"self": root, "llmops": root})
    text = written("azure-pipelines")[name].text
    return expander.expand(text, {"experiment": "tiny"} if "parameters.experiment" in text else {}), expander


def jobs_of(pipeline: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for stage in pipeline["stages"]:
        yield from stage["jobs"]


def steps_of(job: dict[str, Any]) -> list[dict[str, Any]]:
    strategy = job.get("strategy", {})
    steps: list[dict[str, Any]] = strategy["runOnce"]["deploy"]["steps"] if "runOnce" in strategy else job["steps"]
    return steps


@pytest.mark.usefixtures("node_packages")
def test_expanded_pipelines_are_found_faultless_by_azures_own_service(root: Path, tmp_path: Path) -> None:
    (tmp_path / "azure-pipelines").mkdir()
    for name in PIPELINES:
        text = yaml.safe_dump(expand(root, name)[0], sort_keys=False)
        (tmp_path / f"azure-pipelines/{name}.yml").write_text(text, encoding="utf-8")
    assert list(check_azure_service(tmp_path)) == []


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_stays_far_below_the_limits_of_templates(root: Path, name: str) -> None:
    _, expander = expand(root, name)
    assert expander.files <= MOST_FILES // 10
    assert DEEPEST == 20


@pytest.mark.parametrize("name", PIPELINES)
def test_no_expression_is_left_and_every_task_has_only_inputs_that_it_knows(root: Path, name: str) -> None:
    pipeline, _ = expand(root, name)
    assert "${{" not in yaml.safe_dump(pipeline)
    for step in (step for job in jobs_of(pipeline) for step in steps_of(job) if "task" in step):
        refuse_unknown(step["task"], step.get("inputs", {}))


@pytest.mark.parametrize("name", PIPELINES)
def test_every_job_has_a_time_limit_and_only_a_job_that_runs_no_change_has_a_connection(root: Path, name: str) -> None:
    pipeline, _ = expand(root, name)
    for job in jobs_of(pipeline):
        assert job["timeoutInMinutes"] > 0
        tasks = {step.get("task") for step in steps_of(job)}
        assert "AzureCLI@2" not in tasks or name != "pull-request"


@pytest.mark.parametrize("name", ["evaluate", "release", "promote", "rollback"])
def test_what_has_a_connection_does_not_run_for_a_pull_request(root: Path, name: str) -> None:
    first, *rest = expand(root, name)[0]["stages"]
    assert first["condition"] == "and(succeeded(), ne(variables['Build.Reason'], 'PullRequest'))"
    assert all("condition" not in stage for stage in rest)


@pytest.mark.parametrize("name", ["release", "promote", "rollback"])
def test_what_changes_an_environment_is_a_deployment_to_it_and_waits_for_its_turn(root: Path, name: str) -> None:
    stage = expand(root, name)[0]["stages"][-1]
    assert stage["lockBehavior"] == "sequential"
    assert [job["environment"] for job in stage["jobs"]] == [{"release": "dev"}.get(name, "prod")]


def test_a_driver_of_another_name_is_checked_out_instead(root: Path, tmp_path: Path) -> None:
    text = (
        written("azure-pipelines")["pull-request"].text.replace("@llmops", "@tools") + "  parameters: {driver: tools}\n"
    )
    pipeline = Expander(repositories={"self": tmp_path, "tools": root}).expand(text)
    assert {step["checkout"] for job in jobs_of(pipeline) for step in steps_of(job) if "checkout" in step} == {
        "self",
        "tools",
    }
