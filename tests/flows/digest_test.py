from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from llmops.flows.commit import CommitTree
from llmops.flows.digest import digest_files, digest_with_overlay
from tests.flows.repository import DAG, Repository, digest_of

INSIDE = {
    "flows/qa/flow.dag.yaml": DAG + "additional_includes: [../../shared/one.txt, ../../shared/many]\n",
    "flows/qa/answer.py": "import texts.clean\n",
    "flows/qa/prompts/p.jinja2": "Say {{x}}\n",
    "flows/qa/.gitignore": "*.log\n",
    "shared/one.txt": "one\n",
    "shared/many/two.txt": "two\n",
    "shared/many/deep/three.txt": "three\n",
    "linked/target.txt": "linked\n",
    "linked/folder/four.txt": "four\n",
    "texts/__init__.py": "",
    "texts/clean.py": "import tables\n",
    "texts/stop.txt": "the\n",
    "src/tables.py": "TABLES = []\n",
}
OUTSIDE = {
    ".gitignore": "*.env\n",
    "README.md": "hello\n",
    "config/experiments/qa.yaml": "flow: flows/qa\n",
    "flows/other/flow.dag.yaml": DAG,
    "flows/qa/run.log": "log\n",
    "flows/qa/prod.env": "SECRET\n",
    "flows/qa/__pycache__/answer.pyc": "pyc\n",
    "flows/qa/.promptflow/flow.tools.json": "{}\n",
    "shared/three.txt": "3\n",
    "shared/many/prod.env": "SECRET\n",
    "linked/other.txt": "other\n",
    "texts/__pycache__/clean.pyc": "pyc\n",
    "tests/test_qa.py": "import texts\n",
    "src/unused.py": "import texts\n",
    "unused/__init__.py": "",
}
GOLDEN = "sha256:746c0e10a7d09f898ee6785203a15e68cfff8c39b6add90aa467e8811cbb3e1e"


@pytest.fixture
def full(empty: Repository) -> Repository:
    fill(empty)
    return empty


def fill(repository: Repository, names: list[str] | None = None) -> None:
    files = {**INSIDE, **OUTSIDE}
    repository.write({name: files[name] for name in names or files})
    repository.link("flows/qa/target.txt", "../../linked/target.txt")
    repository.link("flows/qa/folder", "../../linked/folder")


def flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes() or b"#")
    # Python and YAML may break, so what must still be read grows by a comment instead.
    if path.suffix in (".yaml", ".py") or path.name == ".gitignore":
        content += b"#%d\n" % chance.randrange(10**9)
    else:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(bytes(content))


def mutate(repository: Repository, chance: random.Random, names: Iterable[str], folders: tuple[str, ...]) -> None:
    """Change one byte of one of the files, or one name in one of the folders."""
    folder = repository.root / chance.choice(folders)
    fresh = folder / f"n{chance.randrange(10**9)}.txt"
    named = {repository.root / name for name in (*INSIDE, *OUTSIDE)}
    loose = sorted(path for path in folder.iterdir() if path.suffix == ".txt" and path not in named)
    action = chance.choice(("byte", "add", "rename", "remove"))
    if action == "byte":
        flip(repository.root / chance.choice(list(names)), chance)
    elif action == "add" or not loose:
        fresh.write_bytes(b"")
    elif action == "rename":
        chance.choice(loose).rename(fresh)
    else:
        chance.choice(loose).unlink()


def test_the_digest_of_a_fixed_flow_never_changes(empty: Repository) -> None:
    """A promise over versions and operating systems: records and registries keep digests for years."""
    empty.write(
        {
            "flows/qa/flow.dag.yaml": DAG + "additional_includes: [../../shared]\n",
            "flows/qa/answer.py": "import helper\n",
            "flows/qa/e\u0301.txt": "decomposed\r\n",
            "flows/qa/data/\U0001f600.bin": bytes(range(256)),
            "flows/qa/data/\uffee.bin": b"",
            "shared/x.txt": "x",
            "helper.py": "",
        }
    )
    assert digest_of(empty) == GOLDEN


def test_each_of_500_changes_inside_gives_another_digest(full: Repository) -> None:
    chance = random.Random(1)
    digest = digest_of(full)
    for step in range(500):
        mutate(full, chance, INSIDE, ("flows/qa/prompts", "shared/many/deep", "linked/folder", "texts"))
        changed = digest_of(full)
        assert changed != digest, f"step {step}"
        digest = changed


def test_none_of_500_changes_outside_gives_another_digest(full: Repository) -> None:
    chance = random.Random(2)
    digest = digest_of(full)
    ignored = ("flows/qa/__pycache__", "flows/qa/.promptflow", "texts/__pycache__")
    for step in range(500):
        mutate(full, chance, OUTSIDE, ("", "flows/other", "config", "shared", "linked", "tests", "unused", *ignored))
        assert digest_of(full) == digest, f"step {step}"


def test_equal_trees_have_equal_digests_wherever_and_however_they_were_made(full: Repository, tmp_path: Path) -> None:
    chance = random.Random(3)
    for copy in range(5):
        other = Repository(root=tmp_path / f"elsewhere {copy}")
        names = [*INSIDE, *OUTSIDE]
        chance.shuffle(names)
        fill(other, names)
        for name in INSIDE:
            (other.root / name).chmod(chance.choice((0o600, 0o644, 0o755)))
            os.utime(other.root / name, (chance.randrange(10**9), chance.randrange(10**9)))
        assert digest_of(other) == digest_of(full)


def test_line_endings_are_bytes(full: Repository) -> None:
    digest = digest_of(full)
    full.write({"flows/qa/prompts/p.jinja2": "Say {{x}}\r\n"})
    assert digest_of(full) != digest


def test_a_commit_has_the_digest_of_its_working_tree(full: Repository) -> None:
    commit = full.commit()
    digest = digest_of(full)
    shutil.rmtree(full.root / "flows")
    with CommitTree(full.root, commit) as tree:
        assert digest_of(tree) == digest


def test_moving_bytes_between_name_and_content_changes_the_digest() -> None:
    one, two = "0" * 64, "1" * 64
    assert digest_files({"a": one, "b": two}) != digest_files({"a": two, "b": one})
    assert digest_files({"a": one}) != digest_files({"a\0": one}) != digest_files({})


def test_names_are_sorted_by_their_utf_8_bytes() -> None:
    names = ["\uffee", "\U0001f600", "a", "B"]
    content = "0" * 64
    assert digest_files(dict.fromkeys(names, content)) == digest_files(dict.fromkeys(reversed(names), content))


def test_an_overlay_is_part_of_the_digest() -> None:
    plain = "sha256:" + "0" * 64
    digests = {digest_with_overlay(plain, overlay) for overlay in ({"a": "b"}, {"a": "c"}, {"ab": ""}, {"": "ab"})}
    assert len(digests) == 4
    assert digest_with_overlay(plain, {}) == plain
