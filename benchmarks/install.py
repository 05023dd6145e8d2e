"""Measure the base installation and how fast `llmops --help` answers, beside their budgets."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tools.setup_venv import LLM_TOOLS, ROOT, Installer, installers, python_of

LOCKS = ("requirements/base.txt", LLM_TOOLS)


def seconds_of(work: Callable[[], object]) -> float:
    """Time one call, in seconds of wall time."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def install_base(installer: Installer, venv: Path) -> None:
    """Install what `pip install llmops` and `llmops setup` give."""
    installer.create(venv, sys.executable)
    for lock in LOCKS:
        installer.install(python_of(venv), "--require-hashes", "--requirement", str(ROOT / lock))
    installer.install(python_of(venv), str(ROOT))


def megabytes_of(folder: Path) -> float:
    """Add up the files below a folder, in units of 1 000 000 bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


def measure(folder: Path) -> list[tuple[str, str, str]]:
    """Measure in an empty folder; rows of what, result and budget."""
    installer = next(installers(ROOT, os.environ))
    install_base(installer, folder / "to-fill-the-cache")
    venv = folder / "venv"
    installing = seconds_of(lambda: install_base(installer, venv))
    size = megabytes_of(venv)
    command = [str(python_of(venv).with_name("llmops")), "--help"]
    helping = sorted(seconds_of(lambda: subprocess.run(command, capture_output=True, check=True)) for _ in range(11))
    return [
        (f"base install with {installer.name}, warm cache", f"{installing:.1f} s", "30 s"),
        ("base install on disk, with the prompt flow engine", f"{size:.0f} MB", "120 MB"),
        ("llmops --help, median of 11", f"{helping[5]:.2f} s", "0.2 s"),
    ]


def main() -> int:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        for what, result, budget in measure(Path(folder)):
            print(f"{what:52} {result:>8}   budget {budget}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
