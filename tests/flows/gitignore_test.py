from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from llmops.flows.gitignore import IgnoreFile
from llmops.flows.ignore import IgnoreRules
from llmops.flows.tree import FileTree, WorkingTree
from tests.flows.repository import Repository

NAMES = ("a", "b", "ab", "c.txt", "\u00e9", "a b", "x]", "-d", "a^", "!q", "#h", "A", "1", "back\\s", "t ")
FOLDERS = ("a/b/k", "a/b", "a", "b", "ab", "b/1", "\u00e9/a", "")
TOKENS = (
    *("a", "b", "ab", "*", "**", "?", "/", "/", "*.txt", ".txt", "***", "1", "c", "x", "\t", "\u00e9", "-", " ", "\\ "),
    *("[ab]", "[!a]", "[^b]", "[]a]", "[a-c]", "[c-a]", "[a-]", "[--a]", "[!-a]", "[[]", "[a\\-c]", "[\\]]", "[a"),
    *("[[:alpha:]]", "[[:digit:]x]", "[[:bogus:]]", "\\", "\\a", "\\*", "\\!", "\\#"),
)


@pytest.fixture
def forest(empty: Repository) -> Repository:
    for folder in FOLDERS:
        names = [
            name for name in NAMES if not any(other.startswith(f"{folder}/{name}".lstrip("/")) for other in FOLDERS)
        ]
        empty.write({f"{folder}/{name}".lstrip("/"): "" for name in names})
    empty.git("init", "--quiet")
    return empty


def kept_by_us(tree: FileTree, rules: IgnoreRules, folder: str = "") -> Iterator[str]:
    for name, kind in tree.list(folder).items():
        path = f"{folder}/{name}".lstrip("/")
        if rules.leaves_out(path, is_folder=kind == "folder"):
            continue
        yield from kept_by_us(tree, rules, path) if kind == "folder" else [path]


def write_ignore_files(forest: Repository, chance: random.Random) -> None:
    for folder in ("", "a/", "a/b/", "b/"):
        lines = [
            chance.choice(("", "", "!", "#"))
            + "".join(chance.choice(TOKENS) for _ in range(chance.randrange(1, 6)))
            + chance.choice(("", "", "/", "  "))
            for _ in range(chance.randrange(5))
        ]
        text = chance.choice(("", "\ufeff")) + chance.choice(("\n", "\r\n")).join(lines)
        forest.write({f"{folder}.gitignore": text})


@pytest.mark.parametrize("seed", range(8))
def test_patterns_mean_what_they_mean_to_git(forest: Repository, seed: int) -> None:
    """Real git is the judge; 10 000 such cases agreed when this was written."""
    for case in range(25):
        write_ignore_files(forest, random.Random(seed * 1000 + case))
        kept = forest.git("ls-files", "--others", "--exclude-standard", "-z").split("\0")
        tree = WorkingTree(forest.root)
        assert sorted(kept_by_us(tree, IgnoreRules(tree))) == sorted(filter(None, kept)), f"case {case}"


@pytest.mark.parametrize(
    ("content", "path", "expected"),
    [
        (b"*.env\n!/flows\n", "flows/x/prod.env", True),
        (b"?\n!/*/\n", "flows/a", True),
        (b"/build\n", "deep/build", None),
        (b"docs/**/*.md\n", "docs/a/b/c.md", True),
        (b"docs/**/*.md\n", "docs/c.md", True),
        (b"*.log\n!keep.log\n", "keep.log", False),
        (b"*.log\n!keep/**\n", "keep/a/b.log", False),
        (b"", "a", None),
    ],
)
def test_the_last_pattern_that_matches_decides(content: bytes, path: str, *, expected: bool | None) -> None:
    assert IgnoreFile(content).leaves_out(path, is_folder=False) is expected


def test_a_pattern_with_a_slash_at_its_end_is_for_folders() -> None:
    rules = IgnoreFile(b"cache/\n")
    assert rules.leaves_out("cache", is_folder=True)
    assert rules.leaves_out("cache", is_folder=False) is None
