from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmops.flows.baseline import materialise, temporary_copy
from llmops.flows.commit import CommitTree
from llmops.flows.tree import WorkingTree
from tests.flows.repository import DAG, Repository, closure_of, digest_of

INCLUDES = DAG + "additional_includes: [../../shared]\n"
COPY_FOREVER = """
import sys
from pathlib import Path
from llmops.flows.baseline import temporary_copy
from llmops.flows.closure import find_closure
from llmops.flows.commit import CommitTree
from llmops.flows.folder import read_flow_in
root, commit = Path(sys.argv[1]), sys.argv[2]
while True:
    with CommitTree(root, commit) as tree:
        with temporary_copy(tree, find_closure(tree, read_flow_in(tree, "flows/qa")), root / ".llmops/tmp"):
            print("copied", flush=True)
"""


@pytest.fixture
def full(empty: Repository) -> Repository:
    empty.write(
        {
            ".gitignore": ".llmops/\n",
            "flows/qa/flow.dag.yaml": INCLUDES,
            "flows/qa/answer.py": "from texts import clean\n",
            "shared/p.txt": "prompt",
            "texts/__init__.py": "",
            "texts/clean.py": "",
            "linked.txt": "linked",
            "README.md": "not part of it",
        }
    )
    empty.link("flows/qa/linked.txt", "../../linked.txt")
    return empty


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def git_state(repository: Repository) -> tuple[str, str, bytes, int, list[str]]:
    index = repository.root / ".git/index"
    state = (
        index.read_bytes(),
        index.stat().st_mtime_ns,
        sorted(path.name for path in (repository.root / ".git").iterdir()),
    )
    return repository.git("--no-optional-locks", "status", "--porcelain"), repository.git("worktree", "list"), *state


def test_a_copy_has_the_layout_of_the_repository_and_nothing_else(full: Repository, tmp_path: Path) -> None:
    tree = WorkingTree(full.root)
    assert materialise(tree, closure_of(tree), tmp_path / "copy") == tmp_path / "copy"
    own = ["flows/qa/answer.py", "flows/qa/flow.dag.yaml", "flows/qa/linked.txt", "flows/qa/shared/p.txt"]
    assert files_in(tmp_path / "copy") == [*own, "shared/p.txt", "texts/__init__.py", "texts/clean.py"]
    assert (tmp_path / "copy/flows/qa/linked.txt").read_text() == "linked"


def test_a_copy_has_the_digest_of_what_was_copied(full: Repository, tmp_path: Path) -> None:
    tree = WorkingTree(full.root)
    copy = materialise(tree, closure_of(tree), tmp_path / "copy")
    assert digest_of(WorkingTree(copy, top=copy)) == digest_of(tree)


def test_the_baseline_is_the_flow_as_it_was_committed(full: Repository, tmp_path: Path) -> None:
    commit = full.commit()
    digest = digest_of(full)
    full.write({"flows/qa/answer.py": "changed", "shared/p.txt": "changed"})
    with CommitTree(full.root, commit) as tree:
        copy = materialise(tree, closure_of(tree), tmp_path / "copy")
    assert digest_of(WorkingTree(copy, top=copy)) == digest


def test_a_copy_of_a_project_below_the_top_is_below_the_top_too(empty: Repository, tmp_path: Path) -> None:
    project = Repository(root=empty.root / "apps/llm")
    project.write({"flows/qa/flow.dag.yaml": DAG + "additional_includes: [../../../../top.txt]\n"})
    empty.write({"top.txt": "x"})
    with CommitTree(project.root, empty.commit()) as tree:
        copy = materialise(tree, closure_of(tree), tmp_path / "copy")
    assert copy == tmp_path / "copy/apps/llm"
    flow = ["apps/llm/flows/qa/flow.dag.yaml", "apps/llm/flows/qa/top.txt"]
    assert files_in(tmp_path / "copy") == [*flow, "top.txt"]


def test_a_temporary_copy_is_removed_and_so_are_old_leftovers(full: Repository) -> None:
    parent = full.root / ".llmops/tmp"
    for name, age_s in (("flow-old", 2 * 24 * 3600), ("flow-new", 60), ("other", 2 * 24 * 3600)):
        (parent / name).mkdir(parents=True)
        os.utime(parent / name, (time.time() - age_s,) * 2)
    tree = WorkingTree(full.root)
    with temporary_copy(tree, closure_of(tree), parent) as copy:
        assert (copy / "flows/qa/answer.py").is_file()
    assert sorted(path.name for path in parent.iterdir()) == ["flow-new", "other"]


def test_a_kill_leaves_checkout_index_and_worktree_list_untouched(full: Repository) -> None:
    commit = full.commit()
    full.write({"flows/qa/answer.py": "staged"})
    full.git("add", "flows/qa/answer.py")
    full.write({"flows/qa/answer.py": "not staged", "flows/qa/new.py": "not tracked"})
    before = git_state(full)
    for _ in range(5):
        command = [sys.executable, "-c", COPY_FOREVER, str(full.root), commit]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"copied\n"
            process.send_signal(signal.SIGKILL)
    assert git_state(full) == before
