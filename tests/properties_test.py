"""What property tests try: the same whenever a change is to land, something else when `make explore` looks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROPERTY = """
import importlib, os, sys
from hypothesis import given, strategies as st

sys.path.insert(0, os.environ["ROOT"])
for name in os.environ["IMPORTED"].split():
    importlib.import_module(name)
drawn = []


@given(st.lists(st.floats()), st.text(), st.integers())
def test_draws(floats, text, number):
    drawn.append((floats, text, number))


def test_tells():
    with open(os.environ["DRAWN"], "w") as told:
        told.write("".join(f"{values!r}\\n" for values in drawn))
"""
BUG = """
from hypothesis import given, strategies as st


@given(st.integers())
def test_finds(number):
    assert number < 1000
"""


def run(folder: Path, root: Path, source: str, *arguments: str, imported: str = "") -> str:
    """Run a property in a process of its own, with our plugin; return what pytest said."""
    (folder / "drawn_test.py").write_text(source)
    (folder / "pytest.ini").write_text("[pytest]\npython_files = *_test.py\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.properties", "--rootdir", str(folder), *arguments]
    env = {**os.environ, "PYTHONPATH": str(root), "ROOT": str(root), "IMPORTED": imported}
    done = subprocess.run(
        [*command, "-c", "pytest.ini", "drawn_test.py"],
        cwd=folder,
        env={**env, "DRAWN": str(folder / "drawn.txt")},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def drawn(folder: Path, root: Path, *arguments: str, imported: str = "") -> list[str]:
    said = run(folder, root, PROPERTY, *arguments, imported=imported)
    assert "2 passed" in said, said
    return (folder / "drawn.txt").read_text().splitlines()


def test_a_landing_run_tries_the_same_again_whatever_else_was_imported(tmp_path: Path, root: Path) -> None:
    """Hypothesis draws constants of the modules that are imported: in parallel runs, those of other tests, too."""
    alone = drawn(tmp_path, root)
    assert len(alone) == 100
    assert drawn(tmp_path, root, imported="llmops.core.gate llmops.emulator.settings llmops.config.model") == alone


def test_an_exploring_run_tries_more_and_something_else_for_each_seed(tmp_path: Path, root: Path) -> None:
    one, other, again = (
        drawn(tmp_path, root, "--hypothesis-profile=explore", f"--hypothesis-seed={seed}") for seed in (1, 2, 1)
    )
    assert len(one) == 3000
    assert one == again != other


@pytest.mark.parametrize("profile", ["landing", "explore"])
def test_a_counterexample_is_told_with_what_replays_it(tmp_path: Path, root: Path, profile: str) -> None:
    said = run(tmp_path, root, BUG, f"--hypothesis-profile={profile}")
    assert "number=1000" in said
    assert "@reproduce_failure(" in said
    assert not (tmp_path / ".hypothesis" / "examples").exists()
