from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from llmops.errors import UsageError
from llmops.flows.commit import CommitTree
from llmops.flows.tree import read
from tests.flows.repository import DAG, Repository, digest_of, origins_of


def test_attributes_have_no_say(repository: Repository) -> None:
    digest = digest_of(repository)
    commit = repository.commit()
    repository.write({".gitattributes": "* text eol=crlf ident export-subst\nflows/qa/answer.py export-ignore\n"})
    attributed = repository.commit()
    with CommitTree(repository.root, commit) as before, CommitTree(repository.root, attributed) as after:
        assert digest_of(before) == digest_of(after) == digest


def test_line_endings_that_git_converts_differ_from_those_it_stores(repository: Repository) -> None:
    repository.write({".gitattributes": "*.txt text eol=crlf\n", "flows/qa/a.txt": "one\r\ntwo\r\n"})
    with CommitTree(repository.root, repository.commit()) as tree:
        assert read(tree, "flows/qa/a.txt") == b"one\ntwo\n"
        assert digest_of(tree) != digest_of(repository)


def test_replaced_objects_have_no_say(repository: Repository) -> None:
    commit = repository.commit()
    repository.write({"flows/qa/answer.py": "replaced"})
    repository.commit()
    old, new = (repository.git("rev-parse", f"{ref}:flows/qa/answer.py") for ref in ("HEAD~1", "HEAD"))
    repository.git("replace", old, new)
    with CommitTree(repository.root, commit) as tree:
        assert read(tree, "flows/qa/answer.py").startswith(b"def answer")


def test_links_are_resolved_in_the_commit(repository: Repository) -> None:
    repository.write({"shared/many/q.txt": "committed"})
    repository.link("flows/qa/many", "../../shared/many")
    commit = repository.commit()
    digest = digest_of(repository)
    repository.write({"shared/many/q.txt": "changed since"})
    with CommitTree(repository.root, commit) as tree:
        assert origins_of(tree)["many/q.txt"] == "linked"
        assert digest_of(tree) == digest


def test_an_include_that_the_commit_lacks_is_named(repository: Repository) -> None:
    repository.write({"flows/qa/flow.dag.yaml": DAG + "additional_includes: [../../late.txt]\n"})
    commit = repository.commit()
    repository.write({"late.txt": "x"})
    with CommitTree(repository.root, commit) as tree, pytest.raises(UsageError) as caught:
        origins_of(tree)
    expected = f"flows/qa/flow.dag.yaml:10: additional_includes[0]: no such file or folder in commit {commit[:12]}\n"
    assert str(caught.value).startswith(expected)


def test_a_submodule_in_the_flow_is_explained(repository: Repository, tmp_path: Path) -> None:
    other = Repository(root=tmp_path / "other")
    other.write({"x.txt": "x"})
    other.commit()
    repository.commit()
    repository.git("submodule", "--quiet", "add", str(other.root), "flows/qa/sub")
    with CommitTree(repository.root, repository.commit()) as tree, pytest.raises(UsageError) as caught:
        origins_of(tree)
    assert str(caught.value).startswith("flows/qa/sub: is a Git submodule, whose files are not in this repository\n")


def test_a_git_lfs_file_is_read_from_where_lfs_keeps_it(repository: Repository) -> None:
    object_id = hashlib.sha256(b"the real file").hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{object_id}\nsize 13\n"
    repository.write({"flows/qa/model.bin": pointer})
    commit = repository.commit()
    with CommitTree(repository.root, commit) as tree, pytest.raises(UsageError) as caught:
        digest_of(tree)
    assert f"Run: git lfs fetch origin {commit}" in str(caught.value)
    repository.write({f".git/lfs/objects/{object_id[:2]}/{object_id[2:4]}/{object_id}": "the real file"})
    with CommitTree(repository.root, commit) as tree:
        assert read(tree, "flows/qa/model.bin") == b"the real file"


def test_a_large_file_comes_in_pieces_and_may_be_left_half_read(repository: Repository) -> None:
    large = os.urandom(3_000_000)
    repository.write({"flows/qa/large.bin": large})
    with CommitTree(repository.root, repository.commit()) as tree:
        pieces = tree.chunks("flows/qa/large.bin")
        assert len(next(pieces)) < len(large)
        pieces.close()  # type: ignore[attr-defined]  # it is a generator
        assert read(tree, "flows/qa/flow.dag.yaml") == DAG.encode()
        assert read(tree, "flows/qa/large.bin") == large


def test_a_linked_worktree_and_a_project_below_the_top_work(empty: Repository, tmp_path: Path) -> None:
    project = Repository(root=empty.root / "apps/llm")
    project.write({"flows/qa/flow.dag.yaml": DAG, "flows/qa/answer.py": "import helper", "helper.py": ""})
    commit = empty.commit()
    empty.git("worktree", "add", "--quiet", str(tmp_path / "linked"))
    with CommitTree(tmp_path / "linked/apps/llm", commit) as tree:
        assert tree.prefix == "apps/llm"
        assert digest_of(tree) == digest_of(project)


def test_nothing_is_left_running(repository: Repository) -> None:
    with CommitTree(repository.root, repository.commit()) as tree:
        digest_of(tree)
        reader = tree._reader
        assert reader is not None
    process: subprocess.Popen[bytes] = reader._process
    assert process.returncode == 0
