"""No attack of the corpus does damage, and each does when the defence that it names is taken out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.corpus import ATTACKS, Attack
from tests.attacks.defences import DEFENCES, Defence

AT_LEAST = 60


def test_there_are_at_least_sixty_attacks_with_names_of_their_own() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) >= AT_LEAST


def test_every_attack_names_a_defence_and_every_defence_has_an_attack() -> None:
    assert {attack.defence for attack in ATTACKS} == set(DEFENCES)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_does_no_damage(attack: Attack, tmp_path: Path) -> None:
    assert not attack.damage(tmp_path)


class Copy:
    """A copy of the code, and the process that tries attacks on what is in it; see `without.py`."""

    def __init__(self, folder: Path, process: subprocess.Popen[str]) -> None:
        self.folder = folder
        self._process = process
        self._read()

    @contextmanager
    def changed(self, defence: Defence) -> Iterator[None]:
        path = self.folder / defence.file
        text = path.read_text(encoding="utf-8")
        assert text.count(defence.old) == 1
        path.write_text(text.replace(defence.old, defence.new), encoding="utf-8")
        os.utime(path, (0, 0))  # no time that the file had: what was compiled from it before is not taken
        try:
            yield
        finally:
            path.write_text(text, encoding="utf-8")

    def harmless(self, name: str) -> Any:
        """Name the attacks on a defence that do no damage."""
        assert self._process.stdin
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[Copy]:
    folder = tmp_path_factory.mktemp("copy")
    for name in ("llmops", "tests/attacks", "tests/hosts", "tests/reports"):
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("*.pyc.*"))
    env = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "tests.attacks.without"]
    with subprocess.Popen(
        command, cwd=folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Copy(folder, process)


@pytest.mark.slow
@pytest.mark.parametrize("name", DEFENCES)
def test_without_its_defence_every_attack_gets_through(copy: Copy, name: str) -> None:
    with copy.changed(DEFENCES[name]):
        assert copy.harmless(name) == []
