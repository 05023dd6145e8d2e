"""No attack of the corpus does damage, and each does when the defence that it names is taken out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.attacks.corpus import ATTACKS, Attack
from tests.attacks.defences import DEFENCES

AT_LEAST = 60


def test_there_are_at_least_sixty_attacks_with_names_of_their_own() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) >= AT_LEAST


def test_every_attack_names_a_defence_and_every_defence_has_an_attack() -> None:
    assert {attack.defence for attack in ATTACKS} == set(DEFENCES)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_does_no_damage(attack: Attack, tmp_path: Path) -> None:
    assert not attack.damage(tmp_path)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(root / "llmops", folder / "llmops", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("attacks", "hosts", "reports"):
        shutil.copytree(root / "tests" / name, folder / "tests" / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", DEFENCES)
def test_without_its_defence_every_attack_gets_through(copy: Path, name: str) -> None:
    defence = DEFENCES[name]
    path = copy / defence.file
    text = path.read_text(encoding="utf-8")
    assert text.count(defence.old) == 1
    path.write_text(text.replace(defence.old, defence.new), encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "tests.attacks.corpus", name]
    answer = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, check=False)
    path.write_text(text, encoding="utf-8")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == []
