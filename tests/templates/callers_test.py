"""The short pipelines that `llmops init` writes: short, faultless, as the pages show them, and fitting our templates."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from llmops.commands.init_callers import Caller, callers
from llmops.errors import UsageError
from tests.projects import FLOWS, TinyProject
from tests.templates.azure_expander import Expander, repositories_of
from tools.check_templates import CHECKS

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SOURCES = {"github": f"OWNER/llmops@{COMMIT}", "azure-pipelines": "PROJECT/llmops@refs/tags/VERSION"}
PAGES = ("pull-request", "evaluate", "release", "promote", "rollback")


def written(ci: str, *experiments: str, delivers: bool = True) -> dict[str, Caller]:
    found = callers(ci, SOURCES[ci], experiments=experiments or ["web-classification"], delivers=delivers)  # type: ignore[arg-type]
    return {Path(caller.path).stem.removeprefix("llmops-"): caller for caller in found}


@pytest.fixture(params=SOURCES)
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> TinyProject:
    """A repository in which `llmops init` has been run."""
    shutil.copytree(FLOWS / "answer", tmp_path / "flows/answer", ignore=shutil.ignore_patterns("__pycache__"))
    project = TinyProject(tmp_path)
    project.write("rows.jsonl", json.dumps({"question": "q"}) + "\n")
    source = SOURCES[request.param]
    arguments = ("--yes", "--ci", request.param, "--backend", "azure", "--templates", source, "--no-install")
    assert project.run("init", *arguments).code == 0
    return project


@pytest.mark.parametrize("ci", SOURCES)
def test_every_pipeline_has_at_most_fifteen_lines(ci: str) -> None:
    found = written(ci)
    assert set(found) - {"pull-request-report"} == set(PAGES)
    assert max(len(caller.text.splitlines()) for caller in found.values()) <= 15


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_show_what_init_writes(root: Path, page: str) -> None:
    shown = re.findall(r"```yaml\n(.*?)```", (root / f"docs/ci/{page}.md").read_text(encoding="utf-8"), re.DOTALL)
    github, azure = written("github"), written("azure-pipelines")
    wanted = [github[page], *([github["pull-request-report"]] if page == "pull-request" else []), azure[page]]
    assert shown == [caller.text.replace(COMMIT, "COMMIT") for caller in wanted]


@pytest.mark.slow
@pytest.mark.usefixtures("node_packages")
def test_what_init_writes_is_found_faultless(repository: TinyProject) -> None:
    assert {name: list(check(repository.root)) for name, check in CHECKS.items()} == {name: [] for name in CHECKS}


def test_what_init_writes_for_azure_pipelines_expands_with_our_templates(root: Path, tmp_path: Path) -> None:
    for caller in written("azure-pipelines").values():
        (resource,) = repositories_of(caller.text)
        repositories = {"self": tmp_path, resource["repository"]: root}
        given = {"experiment": "tiny"} if "parameters.experiment" in caller.text else {}
        assert Expander(repositories=repositories).expand(caller.text, given)["stages"]


def test_each_of_several_experiments_has_a_release() -> None:
    found = written("github", "a", "b")
    assert {name for name in found if name.startswith("release")} == {"release-a", "release-b"}
    assert "name: llmops release-a\n" in found["release-a"].text
    assert "experiment: b\n" in found["release-b"].text


def test_where_nothing_is_delivered_to_only_pull_requests_are_checked() -> None:
    assert set(written("github", delivers=False)) == {"pull-request", "pull-request-report"}
    assert set(written("azure-pipelines", delivers=False)) == {"pull-request"}


@pytest.mark.parametrize(
    ("ci", "source"),
    [
        ("github", "OWNER/llmops@main"),
        ("github", "OWNER/llmops@v1"),
        ("github", f"llmops@{COMMIT}"),
        ("github", f"OWNER/llmops@{COMMIT}\nx: y"),
        ("azure-pipelines", "PROJECT/llmops@refs/heads/main"),
        ("azure-pipelines", "PROJECT/llmops"),
    ],
)
def test_templates_that_are_not_pinned_are_refused(ci: str, source: str) -> None:
    with pytest.raises(UsageError, match="not a pinned repository"):
        callers(ci, source, experiments=["a"], delivers=True)  # type: ignore[arg-type]
