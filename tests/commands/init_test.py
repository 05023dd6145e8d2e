from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from llmops.commands.context import Context
from llmops.commands.init import init, parse_thresholds
from llmops.commands.init_plan import Wishes
from llmops.commands.lint import lint_project
from llmops.config.load import load_project
from llmops.errors import UsageError
from llmops.hosts.progress import ProgressDisplay
from tests.projects import FLOWS, TinyProject

WRITTEN = ("config/experiments/answer.yaml", "config/environments/local.yaml", ".gitignore", ".gitattributes")


@pytest.fixture
def repository(tmp_path: Path) -> TinyProject:
    """A git repository with one flow folder and a data file, and nothing else."""
    shutil.copytree(FLOWS / "answer", tmp_path / "flows/answer", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    project = TinyProject(tmp_path)
    project.write(
        "rows.jsonl", "".join(json.dumps({"question": f"q{n}", "expected": f"{n}q"}) + "\n" for n in range(3))
    )
    return project


def contents(project: TinyProject) -> dict[str, bytes]:
    paths = (path for path in project.root.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {str(path.relative_to(project.root)): path.read_bytes() for path in paths}


def test_a_new_user_gets_a_verdict_with_two_commands(repository: TinyProject) -> None:
    answer = repository.run("init", "--yes")
    assert (answer.code, answer.out.splitlines()[-1]) == (0, "Next: llmops check")
    assert "answer: no quality threshold is set yet; the gate judges failed rows alone (max_failed: 0)" in answer.out
    code, verdict = repository.check()
    assert (code, verdict["outcome"]) == (0, "pass")
    assert any("no threshold is set" in note for note in verdict["notes"])


def test_what_is_written_loads_lints_clean_and_names_the_flow_and_the_data(repository: TinyProject) -> None:
    repository.run("init", "--yes")
    assert all((repository.root / name).is_file() for name in WRITTEN)
    experiment = load_project(repository.root).experiments["answer"]
    assert (experiment.flow, experiment.datasets["rows"].path) == ("flows/answer", "rows.jsonl")
    assert lint_project(repository.root) == []


def test_a_second_run_changes_nothing(repository: TinyProject) -> None:
    repository.run("init", "--yes")
    before = contents(repository)
    answer = repository.run("init", "--yes")
    assert answer.code == 0
    assert "written" not in answer.out
    assert contents(repository) == before


def test_a_file_that_differs_stays_unless_force_is_given(repository: TinyProject) -> None:
    repository.write("config/environments/local.yaml", "backend: local # mine\n")
    assert "kept: config/environments/local.yaml" in repository.run("init", "--yes").out
    assert (repository.root / "config/environments/local.yaml").read_text() == "backend: local # mine\n"
    assert "replaced: config/environments/local.yaml" in repository.run("init", "--yes", "--force").out


def test_entries_are_added_to_an_ignore_file_and_never_twice(repository: TinyProject) -> None:
    repository.write(".gitignore", "*.log\n.llmops\n")
    repository.run("init", "--yes")
    text = (repository.root / ".gitignore").read_text()
    assert text == "*.log\n.llmops\n__pycache__/\n.promptflow/\n.runs/\n"


def test_an_evaluation_flow_is_mapped_and_a_threshold_is_set(repository: TinyProject) -> None:
    shutil.copytree(FLOWS / "score", repository.root / "flows/score")
    repository.run("init", "--yes", "--threshold", "accuracy=0.5")
    experiment = load_project(repository.root).experiments["answer"]
    (evaluator,) = experiment.evaluators.values()
    assert evaluator.column_mapping == {"expected": "${data.expected}", "answer": "${run.outputs.answer}"}
    assert [(limit.metric, limit.min) for limit in experiment.gate.thresholds] == [("accuracy", 0.5)]
    assert lint_project(repository.root) == []


def test_a_column_of_another_spelling_is_mapped(repository: TinyProject) -> None:
    repository.write("rows.jsonl", '{"Question": "a"}\n')
    repository.run("init", "--yes")
    assert load_project(repository.root).experiments["answer"].column_mapping == {"question": "${data.Question}"}


def test_without_data_it_exits_with_2_and_the_command_to_type(repository: TinyProject) -> None:
    (repository.root / "rows.jsonl").unlink()
    answer = repository.run("init", "--yes")
    assert answer.code == 2
    command = answer.err.splitlines()[-1].strip()
    assert command == """mkdir -p data && echo '{"question": "…"}' > data/answer.jsonl"""
    subprocess.run(["sh", "-c", command], cwd=repository.root, check=True)
    assert repository.run("init", "--yes").code == 0
    assert repository.run("check").code == 0


def test_a_repository_without_a_flow_is_told_what_to_add(tmp_path: Path) -> None:
    answer = TinyProject(tmp_path).run("init", "--yes")
    assert (answer.code, answer.err.splitlines()[0]) == (2, f"error: {tmp_path}: no flow in this repository")
    assert "llmops import FLOW.zip" in answer.err


@pytest.mark.parametrize(
    ("ci", "said"),
    [
        ("github", "az ad app federated-credential create"),
        ("azure-pipelines", "workload identity federation"),
    ],
)
def test_the_checklist_names_identity_roles_and_reviewers(repository: TinyProject, ci: str, said: str) -> None:
    repository.run("init", "--yes", "--ci", ci)
    text = (repository.root / "config/cloud-checklist.md").read_text(encoding="utf-8")
    assert said in text
    assert '--role "AzureML Data Scientist" --scope $WORKSPACE' in text
    assert "reviewers" in text or "approval" in text


def test_connections_are_written_for_what_the_environment_offers(repository: TinyProject) -> None:
    prompty = "---\nmodel:\n  configuration: {connection: model, azure_deployment: gpt-4o}\ninputs: {question: {type: string}}\n---\nuser:\n{{question}}\n"
    repository.write("flows/ask/ask.prompty", prompty)
    repository.run("init", "--yes")
    assert load_project(repository.root).environments["local"].connections["model"].type == "stand_in"
    repository.run("init", "--yes", "--force", "--no-install")
    real = {"OPENAI_API_KEY": "not-a-key"}
    shutil.rmtree(repository.root / "config")
    assert repository.run("init", "--yes", env=real).code == 0
    assert load_project(repository.root).environments["local"].connections["model"].type == "open_ai"


def test_a_person_at_a_terminal_is_asked_and_the_answers_hold(repository: TinyProject) -> None:
    shutil.copytree(FLOWS / "score", repository.root / "flows/score")
    asked: list[str] = []
    answers = {"CI system": "azure-pipelines", "Backend for deployments": "azure"}

    def ask(question: str, choices: Sequence[str], default: str) -> str:
        asked.append(question)
        wanted = answers.get(question, "accuracy=0.25" if not choices else default)
        assert not choices or wanted in choices
        return wanted

    context = Context(
        folder=repository.root,
        env={},
        write=asked.append,
        command=asked.append,
        say=asked.append,
        progress=ProgressDisplay(io.StringIO(), is_terminal=False),
    )
    assert init(context=context, wishes=Wishes(), install=False, ask=ask) == 0
    project = load_project(repository.root)
    assert [limit.min for limit in project.experiments["answer"].gate.thresholds] == [0.25]
    assert {name: item.backend for name, item in project.environments.items()} == {
        "dev": "azure",
        "local": "local",
        "prod": "azure",
    }
    assert "service connection" in (repository.root / "config/cloud-checklist.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["accuracy", "=0.5", "accuracy=high"])
def test_a_threshold_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a threshold"):
        parse_thresholds([text])


def test_without_a_place_for_the_templates_no_pipeline_is_written(repository: TinyProject) -> None:
    answer = repository.run("init", "--yes")
    assert "note: no pipelines yet: name where the templates are, --templates" in answer.out
    assert not (repository.root / ".github").exists()


def test_pipelines_that_are_there_are_kept(repository: TinyProject) -> None:
    repository.write(".github/workflows/llmops-pull-request.yml", "mine\n")
    answer = repository.run("init", "--yes", "--templates", f"OWNER/llmops@{'a' * 40}")
    assert "kept: .github/workflows/llmops-pull-request.yml" in answer.out
    assert "written: .github/workflows/llmops-pull-request-report.yml" in answer.out
