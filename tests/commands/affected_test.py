from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from llmops.commands.affected import Answer, affected, find_affected
from llmops.commands.context import Context
from llmops.config.load import load_project
from llmops.errors import UsageError
from llmops.flows.git import merge_base
from llmops.hosts.progress import ProgressDisplay
from tests.flows.repository import DAG, IDENTITY, Repository

EVALUATOR = DAG.replace("answer.py", "grade.py")
FILES = {
    "flows/qa/flow.dag.yaml": DAG,
    "flows/qa/answer.py": "import shared\n\n\ndef answer(question):\n    return shared.turn(question)\n",
    "flows/echo/flow.dag.yaml": DAG,
    "flows/echo/answer.py": "def answer(question):\n    return question\n",
    "flows/grade/flow.dag.yaml": EVALUATOR,
    "flows/grade/grade.py": "def grade(question):\n    return 1\n",
    "shared.py": "def turn(text):\n    return text[::-1]\n",
    "data/qa.jsonl": '{"question": "a"}\n',
    "data/echo.jsonl": '{"question": "b"}\n',
    "config/experiments/qa.yaml": "flow: flows/qa\ndatasets: {rows: {path: data/qa.jsonl}}\n"
    'evaluators: {grade: {flow: flows/grade, column_mapping: {question: "${run.outputs.answer}"}}}\n',
    "config/experiments/echo.yaml": "flow: flows/echo\ndatasets: {rows: {path: data/echo.jsonl}}\n",
    "config/environments/local.yaml": "backend: local\n",
    "requirements.txt": "promptflow-core\n",
    "README.md": "Two experiments.\n",
}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "repository").mkdir()
    repository = Repository(root=tmp_path / "repository")
    repository.write(FILES)
    repository.commit("first")
    repository.git("checkout", "-qb", "work")
    return repository


def find(repository: Repository, base: str = "main") -> Answer:
    return find_affected(load_project(repository.root), merge_base(repository.root, base))


def reasons(repository: Repository, base: str = "main") -> dict[str, list[str]]:
    return {item.experiment: list(item.reasons) for item in find(repository, base).affected}


def run(repository: Repository, **options: Any) -> str:
    lines: list[str] = []
    context = Context(
        folder=repository.root,
        env={},
        write=lines.append,
        command=lines.append,
        say=lines.append,
        progress=ProgressDisplay(io.StringIO(), is_terminal=False),
    )
    assert affected(context=context, **options) == 0
    return "\n".join(lines)


def test_nothing_is_affected_when_nothing_of_an_experiment_changed(repository: Repository) -> None:
    repository.write({"README.md": "Changed.\n", "flows/other.txt": "x\n"})
    assert reasons(repository) == {}
    assert run(repository, base="main") == "0 of 2 experiments affected."


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("flows/qa/answer.py", "x = 1\n", {"qa": ["flow flows/qa: answer.py changed"]}),
        ("shared.py", "x = 1\n", {"qa": ["flow flows/qa: shared.py changed"]}),
        ("flows/grade/grade.py", "x = 1\n", {"qa": ["evaluator grade (flows/grade): grade.py changed"]}),
        ("flows/echo/notes.md", "new\n", {"echo": ["flow flows/echo: notes.md changed"]}),
        ("data/qa.jsonl", '{"question": "z"}\n', {"qa": ["data: data/qa.jsonl changed (data set rows)"]}),
        (
            "config/experiments/echo.yaml",
            FILES["config/experiments/echo.yaml"] + "repeat: 2\n",
            {"echo": ["configuration: config/experiments/echo.yaml changed (repeat)"]},
        ),
        ("config/experiments/echo.yaml", "# a remark\n" + FILES["config/experiments/echo.yaml"], {}),
        (
            "config/environments/local.yaml",
            "backend: local\noverrides: {echo: {repeat: 3}}\n",
            {"echo": ["environment: config/environments/local.yaml changed (overrides.echo)"]},
        ),
        (
            "requirements.txt",
            "promptflow-core==1.18.5\n",
            {name: ["packages: requirements.txt changed"] for name in ("echo", "qa")},
        ),
    ],
)
def test_each_part_of_an_experiment_is_a_reason_of_its_own(
    repository: Repository, path: str, text: str, expected: dict[str, list[str]]
) -> None:
    repository.write({path: text})
    assert reasons(repository) == expected
    repository.commit()
    assert reasons(repository) == expected


def test_a_file_that_was_deleted_or_renamed_touches_the_flow_that_had_it(repository: Repository) -> None:
    repository.git("mv", "flows/qa/answer.py", "flows/qa/reply.py")
    repository.write({"flows/qa/flow.dag.yaml": DAG.replace("answer.py", "reply.py")})
    repository.git("rm", "-q", "flows/grade/grade.py")
    assert reasons(repository) == {
        "qa": [
            "flow flows/qa: flow.dag.yaml changed",
            "flow flows/qa: reply.py renamed from answer.py",
            "flow flows/qa: answer.py is not part of it any more",
            "evaluator grade (flows/grade): grade.py is not part of it any more",
        ]
    }


def test_a_flow_in_a_renamed_folder_is_compared_with_what_it_was(repository: Repository) -> None:
    repository.git("mv", "flows/echo", "flows/parrot")
    repository.write(
        {"config/experiments/echo.yaml": FILES["config/experiments/echo.yaml"].replace("echo\n", "parrot\n")}
    )
    (item,) = find(repository).affected
    assert item.experiment == "echo"
    assert item.changes == {"flows/parrot": []}


def test_a_new_experiment_and_a_removed_one_are_told(repository: Repository) -> None:
    repository.git("mv", "config/experiments/echo.yaml", "config/experiments/parrot.yaml")
    answer = find(repository)
    assert [(item.experiment, item.reasons) for item in answer.affected] == [
        ("parrot", ("configuration: config/experiments/parrot.yaml is renamed",))
    ]
    assert answer.removed == ["echo"]


def test_an_ignore_file_that_changes_what_belongs_to_a_flow_is_seen(repository: Repository) -> None:
    repository.write({".gitignore": "answer.py\n"})
    assert "flow flows/echo: answer.py is not part of it any more" in reasons(repository)["echo"]


def test_a_submodule_with_data_touches_the_experiments_that_read_it(repository: Repository, tmp_path: Path) -> None:
    outside = Repository(root=tmp_path / "rows")
    outside.write({"rows.jsonl": '{"question": "a"}\n'})
    outside.commit()
    repository.git("submodule", "add", "-q", str(outside.root), "rows")
    repository.write({"config/experiments/echo.yaml": "flow: flows/echo\ndatasets: {rows: {path: rows/rows.jsonl}}\n"})
    base = repository.commit()
    outside.write({"rows.jsonl": '{"question": "b"}\n'})
    outside.commit()
    repository.git("-C", "rows", "pull", "-q")
    repository.commit()
    assert reasons(repository, base) == {"echo": ["data: rows/rows.jsonl changed (data set rows)"]}


def test_a_merge_commit_shows_what_the_branch_changed_and_not_what_it_merged(repository: Repository) -> None:
    repository.write({"flows/qa/answer.py": "x = 1\n"})
    repository.commit("on the branch")
    repository.git("checkout", "-q", "main")
    repository.write({"flows/echo/answer.py": "y = 1\n"})
    repository.commit("on main")
    repository.git("checkout", "-q", "work")
    repository.git("merge", "-q", "--no-edit", "main")
    assert list(reasons(repository)) == ["qa"]


def test_a_first_push_touches_everything(repository: Repository) -> None:
    text = run(repository, base="0" * 40)
    assert text.splitlines() == [
        "echo",
        "  there is no earlier commit",
        "qa",
        "  there is no earlier commit",
        "2 of 2 experiments affected.",
    ]


def test_a_shallow_clone_names_what_to_fetch(repository: Repository, tmp_path: Path) -> None:
    for number in range(2):
        repository.write({"README.md": f"{number}\n"})
        repository.commit()
    repository.git("clone", "-q", "--depth=1", "--branch=work", f"file://{repository.root}", str(tmp_path / "clone"))
    clone = Repository(root=tmp_path / "clone")
    clone.git("fetch", "-q", "--depth=1", "origin", "main:main")
    with pytest.raises(UsageError, match=r"(?s)this shallow clone does not hold.*fetch-depth: 0 in GitHub Actions"):
        find(clone)


def test_nothing_to_compare_with_is_a_usage_error(repository: Repository) -> None:
    with pytest.raises(UsageError, match="nothing to compare with"):
        run(repository)


def test_the_matrix_is_one_line_for_each_system(repository: Repository) -> None:
    repository.write({"requirements.txt": "x\n"})
    github = json.loads(run(repository, base="main", matrix="github"))
    azure = json.loads(run(repository, base="main", matrix="azure-pipelines"))
    assert github == {"include": [{"name": name, "experiments": name} for name in ("echo", "qa")]}
    assert azure == {f"job_{name}": {"name": name, "experiments": name} for name in ("echo", "qa")}


def test_json_tells_the_reasons_and_the_changes(repository: Repository) -> None:
    repository.write({"flows/echo/answer.py": "def answer(question):\n    return question.upper()\n"})
    document = json.loads(run(repository, base="main", json_output=True))
    (item,) = document["affected"]
    assert (item["experiment"], document["unaffected"], document["removed"]) == ("echo", ["qa"], [])
    (change,) = item["changes"]
    assert change["text"] == "node answer: tool answer.py changed (+1 -1 lines)"
    assert "+    return question.upper()" in change["diff"]
