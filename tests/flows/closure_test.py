from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmops.errors import UsageError
from llmops.flows.closure import find_closure
from llmops.flows.folder import read_flow_in
from llmops.flows.tree import WorkingTree
from tests.flows.repository import DAG, Repository, closure_of, digest_of, origins_of

OWN = {"answer.py": "own", "flow.dag.yaml": "own"}


def test_caches_are_left_out_and_everything_else_is_kept(repository: Repository) -> None:
    caches = ("__pycache__/a.pyc", ".promptflow/x", ".runs/1", ".llmops/y", ".venv/z", ".DS_Store", "b.pyc")
    repository.write({f"flows/qa/{name}": "x" for name in (*caches, "data/.hidden", "requirements.txt")})
    assert origins_of(repository) == {**OWN, "data/.hidden": "own", "requirements.txt": "own"}


def test_both_ignore_files_and_nested_ones_leave_files_out(repository: Repository) -> None:
    repository.write(
        {
            ".gitignore": "*.log\n",
            "flows/qa/.amlignore": "notes/\n",
            "flows/qa/data/.gitignore": "!keep.log\n",
            **{f"flows/qa/{name}": "x" for name in ("a.log", "notes/n.txt", "data/keep.log", "data/drop.log")},
        }
    )
    assert origins_of(repository) == {**OWN, ".amlignore": "own", "data/.gitignore": "own", "data/keep.log": "own"}


def test_a_committed_file_that_is_ignored_is_left_out(repository: Repository) -> None:
    repository.write({".gitignore": "*.tmp\n", "flows/qa/a.tmp": "x"})
    repository.commit()
    assert "flows/qa/a.tmp" in repository.git("ls-files")
    assert origins_of(repository) == OWN


def test_includes_land_beside_the_flow_under_their_base_name(repository: Repository) -> None:
    repository.write(
        {
            "flows/qa/flow.dag.yaml": DAG + "additional_includes:\n- ../../shared/prompts/\n- ../../shared/one.txt\n",
            "shared/prompts/deep/p.jinja2": "x",
            "shared/one.txt": "x",
            "shared/two.txt": "x",
        }
    )
    assert origins_of(repository) == {**OWN, "one.txt": "included", "prompts/deep/p.jinja2": "included"}


def test_an_include_that_is_not_there_is_named_with_its_line(repository: Repository) -> None:
    repository.write({"flows/qa/flow.dag.yaml": DAG + "additional_includes:\n- ../shared\n", "flows/share/x": "x"})
    with pytest.raises(UsageError) as caught:
        closure_of(repository)
    assert str(caught.value) == (
        "flows/qa/flow.dag.yaml:11: additional_includes[0]: no such file or folder in the working tree\n"
        "  found '../shared'\n"
        "  expected a path relative to the flow's folder\n"
        "  did you mean '../share'?"
    )


@pytest.mark.parametrize(
    ("include", "what"),
    [
        ("../../../else", "leaves the repository"),
        ("/etc/hosts", "leaves the repository"),
        ("C:/else", "leaves the repository"),
        ("..", "includes the folder that holds the flow itself"),
        ("../../secret.env", "is left out by .gitignore"),
    ],
)
def test_an_include_that_cannot_be_part_of_a_flow_is_refused(repository: Repository, include: str, what: str) -> None:
    repository.write({"flows/qa/flow.dag.yaml": f"{DAG}additional_includes:\n- {include}\n"})
    repository.write({".gitignore": "*.env\n", "secret.env": "x"})
    with pytest.raises(UsageError) as caught:
        closure_of(repository)
    assert str(caught.value).startswith(f"flows/qa/flow.dag.yaml:11: additional_includes[0]: {what}\n")


def test_an_include_may_not_hide_a_different_file_of_the_flow(repository: Repository) -> None:
    repository.write({"flows/qa/flow.dag.yaml": DAG + "additional_includes: [../../answer.py]\n", "answer.py": "1"})
    with pytest.raises(UsageError, match=r"two different files would be answer\.py of the flow"):
        closure_of(repository)


def test_a_link_stands_for_the_bytes_of_its_target(repository: Repository) -> None:
    repository.write({"shared/p.txt": "one", "shared/many/q.txt": "two"})
    repository.link("flows/qa/p.txt", "../../shared/p.txt")
    repository.link("flows/qa/many", "../../shared/many")
    assert origins_of(repository) == {**OWN, "many/q.txt": "linked", "p.txt": "linked"}
    linked = digest_of(repository)
    for name in ("p.txt", "many"):
        (repository.root / "flows/qa" / name).unlink()
    repository.write({"flows/qa/p.txt": "one", "flows/qa/many/q.txt": "two"})
    assert digest_of(repository) == linked


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("gone.txt", "flows/qa/l: is a broken link\n  found a link to gone.txt, which is not there"),
        ("..", "flows/qa/l: is a link that goes in a circle\n  found a link to .., a folder that it is in"),
        ("l", "flows/qa/l: is a link that goes in a circle\n  Remove the link."),
        ("../../../else", "flows/qa/l: is a link that leaves the repository\n  found a link to ../../../else"),
        (os.devnull, f"flows/qa/l: is a link that leaves the repository\n  found a link to {os.devnull}"),
    ],
)
def test_a_link_that_leads_nowhere_good_is_refused(repository: Repository, target: str, message: str) -> None:
    repository.link("flows/qa/l", target)
    with pytest.raises(UsageError) as caught:
        closure_of(repository)
    assert str(caught.value).startswith(message)


def test_ignore_rules_at_either_end_of_a_link_leave_files_out(repository: Repository) -> None:
    repository.write({"shared/.gitignore": "*.log\n", "shared/a.log": "x", "shared/b.txt": "x", "shared/c.bin": "x"})
    repository.write({"flows/qa/.amlignore": "shared/*.bin\n"})
    repository.link("flows/qa/shared", "../../shared")
    expected = {".amlignore": "own", "shared/.gitignore": "linked", "shared/b.txt": "linked"}
    assert origins_of(repository) == {**OWN, **expected}


def test_a_flow_may_be_behind_a_link(repository: Repository) -> None:
    repository.link("flows/alias", "qa")
    assert digest_of(repository, "flows/alias") == digest_of(repository, "flows/qa")


def test_a_pipe_in_the_flow_is_refused(repository: Repository) -> None:
    os.mkfifo(repository.root / "flows/qa/pipe")
    with pytest.raises(UsageError, match="flows/qa/pipe: is not a file, a folder or a link"):
        closure_of(repository)


def test_local_packages_are_found_through_what_imports_them(repository: Repository) -> None:
    repository.write(
        {
            "flows/qa/answer.py": "def f():\n    from texts.clean import strip\n",
            "texts/__init__.py": "",
            "texts/clean/__init__.py": "from ..words import WORDS\nimport tables\n",
            "texts/clean/stop.txt": "the",
            "texts/words.py": "WORDS = []",
            "src/tables.py": "import yaml, os",
            "src/unused.py": "",
            "other/__init__.py": "",
        }
    )
    names = ("texts/__init__.py", "texts/clean/__init__.py", "texts/clean/stop.txt", "texts/words.py", "src/tables.py")
    imported = {f".llmops/imported/{name}": "imported" for name in names}
    assert origins_of(repository) == {**OWN, **imported}
    assert closure_of(repository).import_roots == (".", "src")


@pytest.mark.parametrize(
    "statement",
    [
        "import helper.one",
        "from helper import one",
        "from helper.one import x",
        "import importlib; importlib.import_module('helper.one')",
        "__import__('helper.one')",
        "try:\n    pass\nexcept ImportError:\n    import helper.one",
        "match 1:\n    case 1:\n        import helper.one",
        "async def f():\n    with x:\n        import a, helper.one as b",
    ],
)
def test_every_way_to_import_is_seen(repository: Repository, statement: str) -> None:
    repository.write({"flows/qa/answer.py": statement, "helper/one.py": "", "helper/two.py": ""})
    assert origins_of(repository) == {**OWN, ".llmops/imported/helper/one.py": "imported"}


def test_the_flows_own_module_comes_before_the_repositorys(repository: Repository) -> None:
    repository.write({"flows/qa/helper.py": "", "helper.py": "", "flows/qa/answer.py": "import helper"})
    assert origins_of(repository) == {**OWN, "helper.py": "own"}


def test_a_package_comes_before_a_plain_folder_of_the_same_name(repository: Repository) -> None:
    repository.write({"flows/qa/answer.py": "import tools.one", "tools/one.py": "", "src/tools/__init__.py": ""})
    repository.write({"src/tools/one.py": ""})
    imported = {f".llmops/imported/src/tools/{name}.py": "imported" for name in ("__init__", "one")}
    assert origins_of(repository) == {**OWN, **imported}


def test_a_module_that_is_ignored_is_not_there(repository: Repository) -> None:
    repository.write({".gitignore": "*_pb2.py\n", "flows/qa/answer.py": "import made_pb2", "made_pb2.py": ""})
    assert origins_of(repository) == OWN


def test_the_entry_of_a_flex_flow_may_be_a_local_package(repository: Repository) -> None:
    repository.write({"flows/flex/flow.flex.yaml": "entry: texts.main:run\n", "texts/main.py": ""})
    expected = {".llmops/imported/texts/main.py": "imported", "flow.flex.yaml": "own"}
    assert origins_of(repository, "flows/flex") == expected


def test_an_imported_package_brings_no_other_flow_with_it(repository: Repository) -> None:
    repository.write({"flows/__init__.py": "", "flows/common.py": "", "flows/qa/answer.py": "import flows.common"})
    repository.write({"flows/other/flow.dag.yaml": DAG})
    imported = {f".llmops/imported/flows/{name}": "imported" for name in ("__init__.py", "common.py")}
    assert origins_of(repository) == {**OWN, **imported}


def test_a_flow_may_import_from_the_folder_of_another_flow(repository: Repository) -> None:
    repository.write({"flows/other/__init__.py": "", "flows/other/flow.dag.yaml": DAG, "flows/other/x.py": ""})
    repository.write({"flows/qa/answer.py": "import flows.other.x"})
    names = ("__init__.py", "flow.dag.yaml", "x.py")
    assert origins_of(repository) == {**OWN, **{f".llmops/imported/flows/other/{name}": "imported" for name in names}}


def test_a_flow_may_import_itself_by_its_place_in_the_project(repository: Repository) -> None:
    repository.write({"flows/qa/answer.py": "import flows.qa.helper", "flows/qa/helper.py": ""})
    assert origins_of(repository) == {**OWN, "helper.py": "own"}
    assert closure_of(repository).import_roots == (".",)


def test_a_bad_link_beside_the_flow_does_no_harm(repository: Repository) -> None:
    repository.write({"flows/qa/answer.py": "import helper"})
    repository.link("src", os.devnull)
    repository.link("helper.py", "helper.py")
    assert origins_of(repository) == OWN


def test_a_node_may_not_name_a_file_outside_of_the_project(empty: Repository) -> None:
    project = Repository(root=empty.root / "apps/llm")
    project.write({"flows/qa/flow.dag.yaml": DAG.replace("path: answer.py", "path: ../../../common.py")})
    empty.write({"apps/common.py": ""})
    empty.git("init", "--quiet")
    with pytest.raises(UsageError, match=r"nodes\[0\]\.source\.path: leaves the project folder"):
        closure_of(project)


def test_includes_and_links_import_too(repository: Repository) -> None:
    repository.write({"flows/qa/flow.dag.yaml": DAG + "additional_includes: [../../tools/t.py]\n"})
    repository.write(
        {"tools/t.py": "import one", "tools/u.py": "import two", "one.py": "", "two.py": "", "three.py": ""}
    )
    repository.link("flows/qa/u.py", "../../tools/u.py")
    imported = {f".llmops/imported/{name}.py": "imported" for name in ("one", "two")}
    assert origins_of(repository) == {**OWN, "t.py": "included", "u.py": "linked", **imported}


def test_a_node_may_name_a_file_outside_of_the_flow(repository: Repository) -> None:
    repository.write({"flows/qa/flow.dag.yaml": DAG.replace("path: answer.py", "path: ../common/a.py")})
    repository.write({"flows/common/a.py": "import helper", "helper.py": ""})
    imported = {f".llmops/imported/{name}": "imported" for name in ("flows/common/a.py", "helper.py")}
    assert origins_of(repository) == {**OWN, **imported}


def test_python_that_cannot_be_parsed_is_noted(repository: Repository) -> None:
    repository.write({"flows/qa/answer.py": "import helper\nprint 'x'\n", "helper.py": ""})
    closure = closure_of(repository)
    assert list(closure.files) == list(OWN)
    assert closure.notes == ("flows/qa/answer.py:2 cannot be parsed; what it imports is not part of the closure.",)


def test_names_that_differ_in_case_only_are_refused(repository: Repository) -> None:
    repository.write({"flows/qa/Data/a.txt": "", "flows/qa/data/b.txt": ""})
    with pytest.raises(UsageError) as caught:
        closure_of(repository)
    assert "two names differ only in upper and lower case\n  found Data and data" in str(caught.value)


def test_names_that_are_one_after_normalisation_are_refused(repository: Repository) -> None:
    repository.write({"flows/qa/\u00e9.txt": "1", "flows/qa/e\u0301.txt": "2"})
    with pytest.raises(UsageError, match="two different files would be \u00e9\\.txt of the flow"):
        closure_of(repository)


def test_a_name_that_is_not_text_is_refused(repository: Repository) -> None:
    path = os.fsencode(repository.root / "flows/qa") + b"/\xff.txt"
    Path(os.fsdecode(path)).touch()
    with pytest.raises(UsageError, match="a file name is not UTF-8"):
        closure_of(repository)


def test_a_git_lfs_pointer_is_not_taken_for_the_file(repository: Repository) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 5\n"
    repository.write({"flows/qa/model.bin": pointer})
    with pytest.raises(UsageError) as caught:
        digest_of(repository)
    expected = "flows/qa/model.bin: is a Git LFS pointer, not the file itself\n  Run: git lfs pull"
    assert str(caught.value) == expected


def test_a_project_below_the_top_reaches_the_whole_repository(empty: Repository) -> None:
    project = Repository(root=empty.root / "apps/llm")
    project.write({"flows/qa/flow.dag.yaml": DAG + "additional_includes: [../../../../shared]\n"})
    project.write({"flows/qa/answer.py": "import helper", "helper.py": "", "flows/qa/a.log": ""})
    empty.write({"shared/x.txt": "", ".gitignore": "*.log\n"})
    empty.commit()
    expected = {**OWN, "shared/x.txt": "included", ".llmops/imported/helper.py": "imported"}
    assert origins_of(project) == expected
    tree = WorkingTree(project.root)
    assert find_closure(tree, read_flow_in(tree, "flows/qa")).files["shared/x.txt"].place == "shared/x.txt"
