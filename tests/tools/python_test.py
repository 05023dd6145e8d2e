from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def stand_in_python(folder: Path, name: str, version: tuple[int, int]) -> None:
    """Write a `python` that runs `-c` code as that version would, and else says who it is."""
    run_as = f"import sys; sys.version_info = {(*version, 0)}; exec(sys.argv[1])"
    path = folder / name
    path.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exec {sys.executable} -c "{run_as}" "$2"\necho {name} "$@"\n')
    path.chmod(0o755)


def run(root: Path, path: Path, python: str = "") -> subprocess.CompletedProcess[str]:
    command = ["/bin/sh", str(root / "tools" / "python.sh"), "script.py", "an argument"]
    return subprocess.run(
        command, env={"PATH": str(path), "PYTHON": python}, capture_output=True, text=True, check=False
    )


def test_the_newest_supported_python_is_taken(tmp_path: Path, root: Path) -> None:
    stand_in_python(tmp_path, "python3.10", (3, 10))
    stand_in_python(tmp_path, "python3.12", (3, 12))
    assert run(root, tmp_path).stdout == "python3.12 script.py an argument\n"


def test_a_plain_python3_is_taken_when_it_is_in_range(tmp_path: Path, root: Path) -> None:
    stand_in_python(tmp_path, "python3", (3, 11))
    assert run(root, tmp_path).stdout == "python3 script.py an argument\n"


def test_the_python_that_is_named_comes_first(tmp_path: Path, root: Path) -> None:
    stand_in_python(tmp_path, "python3.12", (3, 12))
    stand_in_python(tmp_path, "mine", (3, 10))
    assert run(root, tmp_path, "mine").stdout == "mine script.py an argument\n"


def test_a_named_python_out_of_range_is_refused_rather_than_replaced(tmp_path: Path, root: Path) -> None:
    stand_in_python(tmp_path, "python3.12", (3, 12))
    stand_in_python(tmp_path, "python3.13", (3, 13))
    result = run(root, tmp_path, "python3.13")
    assert result.returncode == 2
    assert result.stderr == "PYTHON=python3.13 is not a Python of 3.10 to 3.12. Name one that is, or unset PYTHON.\n"


@pytest.mark.parametrize("version", [(2, 7), (3, 9), (3, 13)])
def test_without_a_supported_python_the_message_says_what_to_do(
    tmp_path: Path, root: Path, version: tuple[int, int]
) -> None:
    stand_in_python(tmp_path, "python3", version)
    result = run(root, tmp_path)
    assert result.returncode == 2
    assert result.stderr == (
        "No Python of 3.10 to 3.12 found on PATH. Install one, or name it: make PYTHON=/path/to/python3.12\n"
    )
