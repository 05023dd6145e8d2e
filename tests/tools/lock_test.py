from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tools.lock import LOCKS, check, digest_of, problems_of

GOOD = "# inputs sha256:abc\na==1 \\\n    --hash=sha256:00 \\\n    --hash=sha256:01\n    # via b\n"


def test_the_committed_lock_files_are_fresh_and_name_no_place(root: Path) -> None:
    assert check(root) == []


def test_a_good_lock_file_has_no_problems() -> None:
    assert problems_of(GOOD, "abc") == []


def test_a_lock_file_of_other_inputs_is_stale() -> None:
    assert problems_of(GOOD, "def") == ["stale: run 'make lock'"]


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://index.example/simple",
        "--extra-index-url=x",
        "--find-links /wheels",
        "-i https://x",
        "a @ file:///x.whl --hash=sha256:00",
    ],
)
def test_a_place_to_download_from_is_found(line: str) -> None:
    assert f"names a place to download from: {line}" in problems_of(f"{GOOD}{line}\n", "abc")


def test_a_requirement_without_hash_is_found() -> None:
    assert problems_of(f"{GOOD}b==2\n", "abc") == ["no hash: b==2"]


def test_a_changed_dependency_makes_its_lock_files_stale(root: Path, tmp_path: Path) -> None:
    base = LOCKS[0]
    text = (root / base.source).read_text(encoding="utf-8")
    (tmp_path / base.source).write_text(text.replace('"PyYAML>=6.0,<7"', '"PyYAML>=6.1,<7"'))
    assert digest_of(tmp_path, base) != digest_of(root, base)


def test_other_settings_of_the_project_leave_the_lock_files_fresh(root: Path, tmp_path: Path) -> None:
    base = LOCKS[0]
    text = (root / base.source).read_text(encoding="utf-8")
    (tmp_path / base.source).write_text(text.replace("line-length = 120", "line-length = 100"))
    assert digest_of(tmp_path, base) == digest_of(root, base)


def test_other_options_make_a_lock_file_stale(root: Path) -> None:
    base = LOCKS[0]
    assert digest_of(root, base) != digest_of(root, dataclasses.replace(base, options=("--extra", "azure")))
