from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmops.commands.lint import lint_project
from llmops.flows.lint.flow import find_definitions, lint_flow
from llmops.flows.lint.suppressions import apply_suppressions
from llmops.flows.tree import WorkingTree
from tests.flows.lint.operators import Planted, plant, read_original

CORPUS = Path(__file__).parents[2] / "lint_corpus"
FEWEST_FLOWS, FEWEST_DEFECTS, SCORE = 20, 80, 0.95


def codes_of(root: Path, path: str) -> Counter[str]:
    """Lint one flow with its suppressions, as the command does."""
    linted = lint_flow(WorkingTree(root, top=root), path)
    names = [str(file.relative_to(root)) for file in (root / path).parent.rglob("*") if file.suffix in (".py", ".yaml")]
    kept = apply_suppressions(linted.findings, lambda name: read(root / name), names)
    return Counter(finding.code for finding in kept)


def read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


@pytest.fixture(params=["examples", "before", "after"])
def project(request: pytest.FixtureRequest, root: Path, tmp_path: Path) -> Path:
    """A copy of one of the three projects: our own example flows, and the two halves of the corpus."""
    ignored = shutil.ignore_patterns("__pycache__", ".llmops")
    if request.param != "examples":
        return Path(shutil.copytree(CORPUS / request.param, tmp_path / "project", ignore=ignored))
    for name in ("flows", "config", "data"):
        shutil.copytree(root / name, tmp_path / "project" / name, ignore=ignored)
    return tmp_path / "project"


def apply(root: Path, planted: Planted) -> dict[Path, str | None]:
    """Plant a defect; return what was there."""
    before = {root / name: read(root / name) for name in planted.files}
    write({root / name: text for name, text in planted.files.items()})
    return before


def write(files: dict[Path, str | None]) -> None:
    for path, text in files.items():
        if text is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(text, encoding="utf-8")


def defects(root: Path) -> Iterator[tuple[str, Planted]]:
    for path in find_definitions(WorkingTree(root, top=root)):
        yield from ((path, planted) for planted in plant(read_original(root, path)))


def test_nothing_is_found_in_flows_that_are_correct(project: Path) -> None:
    assert [f"{finding.place} {finding.code} {finding.message}" for finding in lint_project(project)] == []


@pytest.mark.slow
def test_defects_are_caught_with_the_right_code(project: Path) -> None:
    missed, planted_count = [], 0
    for path, planted in list(defects(project)):
        planted_count += 1
        before = apply(project, planted)
        found = codes_of(project, path)
        write(before)
        if not found[planted.code]:
            missed.append(f"{path}: {planted.code} {planted.what}; found {dict(found)}")
    assert len(missed) <= (1 - SCORE) * planted_count, "\n".join(missed)
    assert planted_count >= FEWEST_DEFECTS


def test_the_corpus_is_large_enough_and_a_quarter_was_written_before_the_rules(root: Path) -> None:
    counts = {
        name: len(find_definitions(WorkingTree(CORPUS / name, top=CORPUS / name))) for name in ("before", "after")
    }
    assert sum(counts.values()) >= FEWEST_FLOWS
    assert counts["before"] * 4 >= sum(counts.values())
    assert find_definitions(WorkingTree(root / "flows", top=root / "flows"))
