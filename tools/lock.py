"""Compile the lock files, or check that they are fresh and name no place to download from.

`python -m tools.lock` compiles (pins that still fit are kept; `--upgrade` takes the newest); `--check` needs no
network: each lock file carries the digest of what it was compiled from.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli

from tools.setup_venv import find_uv

ROOT = Path(__file__).resolve().parent.parent
COMMON = ("--universal", "--python-version", "3.10", "--generate-hashes", "--no-emit-index-url", "--no-header")
FROM_BASE = ("--constraints", "requirements/base.txt")
FORBIDDEN = re.compile(r"://|file:|--(extra-)?index-url|--find-links|\s-[if]\s")


@dataclass(frozen=True, kw_only=True)
class Lock:
    """One lock file.

    Attributes:
        path: of the lock file, relative to the checkout.
        source: `pyproject.toml` or an `.in` file.
        options: of `uv pip compile`, beside the common ones.
        with_project: whether the source itself is compiled, not only what the options name of it.
    """

    path: str
    source: str = "pyproject.toml"
    options: tuple[str, ...] = ()
    with_project: bool = True


LOCKS = (
    Lock(path="requirements/base.txt"),
    Lock(path="requirements/build.txt", options=("--group", "build", *FROM_BASE), with_project=False),
    Lock(path="requirements/dev.txt", options=("--group", "dev", *FROM_BASE)),
    Lock(path="requirements/promptflow.txt", options=("--extra", "promptflow", *FROM_BASE)),
    Lock(path="requirements/azure.txt", options=("--extra", "azure", *FROM_BASE)),
    Lock(path="requirements/emulator.txt", options=("--extra", "emulator", *FROM_BASE)),
    Lock(
        path="requirements/azure-dev.txt",
        options=(
            *("--extra", "azure", "--extra", "emulator", "--group", "dev"),
            *(*FROM_BASE, "--constraints", "requirements/azure.txt"),
        ),
    ),
    Lock(path="requirements/uv.txt", source="requirements/uv.in"),
    Lock(path="llmops/requirements/llm-tools.txt", source="requirements/llm-tools.in", options=("--no-deps",)),
)
"""In the order in which they are compiled: the base constrains the others."""


def digest_of(root: Path, lock: Lock) -> str:
    """Digest what a lock file follows from."""
    text = (root / lock.source).read_text(encoding="utf-8")
    wanted: Any = _dependencies(tomli.loads(text)) if lock.source.endswith(".toml") else text.split()
    return hashlib.sha256(json.dumps([wanted, COMMON, lock.options], sort_keys=True).encode()).hexdigest()


def _dependencies(pyproject: Mapping[str, Any]) -> list[Any]:
    project = pyproject["project"]
    names = ("requires-python", "dependencies", "optional-dependencies")
    return [*(project[name] for name in names), pyproject["dependency-groups"]]


def problems_of(text: str, digest: str) -> list[str]:
    """Say what is wrong with the text of a lock file; empty when nothing is.

    Args:
        text: the lock file.
        digest: of what it must have been compiled from.
    """
    problems = []
    if f"# inputs sha256:{digest}" not in text:
        problems.append("stale: run 'make lock'")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    problems += [f"names a place to download from: {line.strip()}" for line in lines if FORBIDDEN.search(line)]
    body = "\n".join(lines).replace("\\\n", " ")
    problems += [f"no hash: {entry}" for entry in body.splitlines() if entry.strip() and "--hash=sha256:" not in entry]
    return problems


def compile_lock(root: Path, lock: Lock, uv: str, extra: Sequence[str]) -> None:
    """Compile one lock file; its present pins are kept where they still fit."""
    path = root / lock.path
    source = [lock.source] if lock.with_project else []
    options = [*COMMON, *lock.options, *extra, "--quiet", "--output-file", lock.path]
    command = [uv, "pip", "compile", *source, *options]
    subprocess.run(command, cwd=root, check=True)
    heading = f"# Made by 'make lock' from {lock.source}; do not edit.\n# inputs sha256:{digest_of(root, lock)}\n"
    path.write_text(heading + path.read_text(encoding="utf-8"), encoding="utf-8")


def check(root: Path) -> list[str]:
    """Say what is wrong with all lock files, one line each."""
    found = []
    for lock in LOCKS:
        path = root / lock.path
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        found += [f"{lock.path}: {problem}" for problem in problems_of(text, digest_of(root, lock))]
    return found


def compile_all(root: Path, extra: Sequence[str]) -> None:
    """Compile all lock files, with the uv that the set-up uses.

    Raises:
        SystemExit: uv cannot be had; pip cannot compile for other Pythons and systems.
    """
    uv = find_uv(root, os.environ)
    if uv is None:
        raise SystemExit("make lock needs uv")
    for lock in LOCKS:
        print(lock.path)
        compile_lock(root, lock, uv.executable, extra)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="check only")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    arguments = parser.parse_args(argv)
    if not arguments.check:
        compile_all(ROOT, ("--upgrade",) if arguments.upgrade else ())
    found = check(ROOT)
    print(*found, sep="\n", end="\n" if found else "", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
