"""Make a virtual environment, `.venv`, from the lock files; do nothing when it is already so.

Runs on any supported Python with the standard library alone. Packages are installed by uv, which is itself installed
(pinned, hashed) under `.cache/`; where uv cannot be had or fails, by plain pip.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parent.parent
LLM_TOOLS = "llmops/requirements/llm-tools.txt"
LEVELS = {
    "run": ("requirements/base.txt", "requirements/build.txt", LLM_TOOLS),
    "dev": ("requirements/dev.txt", LLM_TOOLS),
    "azure": ("requirements/azure-dev.txt", LLM_TOOLS),
}
"""Level to its lock files; `dev` and `azure` hold everything that `run` holds."""

LARGE = ("azure.ai.ml", "promptflow.azure", "scipy.stats", "hypothesis")
"""What takes long to compile, where it is installed: once, not in each of the processes that first import it."""

STATE = "llmops-setup.json"


class SetupError(Exception):
    """The environment could not be made; the message says why and what to do."""


class Installer(Protocol):
    """Makes virtual environments and installs lock files into them."""

    @property
    def name(self) -> str:
        """What people call it."""

    def create(self, venv: Path, python: str) -> None:
        """Make an empty environment of `python` at `venv`, which does not exist."""

    def install(self, python: Path, *arguments: str) -> None:
        """Install without resolving: `arguments` are those of pip's `install`."""


@dataclass(frozen=True)
class Uv:
    """The fast installer.

    Attributes:
        executable: path of uv.
        env: environment of its processes.
    """

    executable: str
    env: Mapping[str, str]
    name: str = "uv"

    def create(self, venv: Path, python: str) -> None:
        """Make an empty environment without pip."""
        run([self.executable, "venv", "--quiet", "--no-project", "--python", python, str(venv)], self.env)

    def install(self, python: Path, *arguments: str) -> None:
        """Install without resolving or compiling: most of what is installed is never imported."""
        options = ("--quiet", "--no-deps", "--python", str(python))
        run([self.executable, "pip", "install", *options, *arguments], self.env)


@dataclass(frozen=True)
class Pip:
    """The installer that comes with Python.

    Attributes:
        env: environment of its processes.
    """

    env: Mapping[str, str]
    name: str = "pip"

    def create(self, venv: Path, python: str) -> None:
        """Make an empty environment with pip."""
        run([python, "-m", "venv", str(venv)], self.env)

    def install(self, python: Path, *arguments: str) -> None:
        """Install without resolving."""
        quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
        run([str(python), "-m", "pip", "install", *quiet, "--no-deps", *arguments], self.env)


def run(command: Sequence[str], env: Mapping[str, str]) -> None:
    """Run a command, its output going to ours.

    Raises:
        SetupError: it cannot be started or does not exit with 0.
    """
    try:
        code = subprocess.run(command, env=dict(env), check=False).returncode
    except OSError as error:
        raise SetupError(f"{command[0]} cannot be started: {error}") from error
    if code:
        raise SetupError(f"exit {code}: {' '.join(command)}")


def python_of(venv: Path) -> Path:
    """Name the interpreter of a virtual environment."""
    return venv / "bin" / "python"


def digest_of(root: Path, python: str, levels: Mapping[str, Sequence[str]]) -> str:
    """Digest all that decides what the environment holds: lock files, pyproject.toml and the Python."""
    files = sorted({"pyproject.toml", *(name for names in levels.values() for name in names)})
    digest = hashlib.sha256(f"{python}\n{sys.version}\n{sys.base_prefix}\n".encode())
    for name in files:
        digest.update(name.encode() + b"\0" + (root / name).read_bytes() + b"\0")
    return digest.hexdigest()


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock between processes; a second one waits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def find_uv(root: Path, env: Mapping[str, str]) -> Uv | None:
    """Find the pinned uv, or install it under `.cache/`; None when it cannot be had."""
    lock = root / "requirements" / "uv.txt"
    pinned = lock.read_text(encoding="utf-8").split("uv==")[1].split()[0]
    found = shutil.which("uv", path=env.get("PATH"))
    if found and _version_of(found, env) == pinned:
        return Uv(executable=found, env=env)
    home = root / ".cache" / f"uv-{pinned}"
    executable = home / "bin" / "uv"
    if _version_of(str(executable), env) != pinned:
        try:
            _install_uv(home, lock, env)
        except SetupError as error:
            print(f"uv cannot be had ({error}); going on with pip", file=sys.stderr)
            return None
    return Uv(executable=str(executable), env=env)


def _version_of(uv: str, env: Mapping[str, str]) -> str:
    try:
        answer = subprocess.run([uv, "--version"], env=dict(env), check=False, capture_output=True, text=True)
    except OSError:
        return ""
    return ([*answer.stdout.split(), "", ""])[1]


def _install_uv(home: Path, lock: Path, env: Mapping[str, str]) -> None:
    shutil.rmtree(home, ignore_errors=True)
    pip = Pip(env=env)
    if importlib.util.find_spec("ensurepip"):
        pip.create(home, sys.executable)
        pip.install(python_of(home), "--require-hashes", "--requirement", str(lock))
    elif importlib.util.find_spec("pip"):
        target = ("--target", str(home), "--require-hashes", "--requirement", str(lock))
        pip.install(Path(sys.executable), *target)
    else:
        raise SetupError("this Python has neither venv nor pip; on Debian and Ubuntu: apt-get install python3-venv")


def installers(root: Path, env: Mapping[str, str]) -> Iterator[Installer]:
    """Yield the ways to install, best first; `LLMOPS_SETUP_PIP=1` leaves out uv."""
    uv = None if env.get("LLMOPS_SETUP_PIP") == "1" else find_uv(root, env)
    if uv:
        yield uv
    yield Pip(env=env)


def set_up(root: Path, venv: Path, level: str, env: Mapping[str, str]) -> None:
    """Bring an environment to a level; what is there already, and is not as locked, is removed first.

    Args:
        root: the checkout.
        venv: folder of the environment.
        level: one of `LEVELS`.
        env: environment of the installer's processes.

    Raises:
        SetupError: no installer could do it.
    """
    digest = digest_of(root, sys.executable, LEVELS)
    with exclusive(root / ".cache" / "setup.lock"):
        if _is_ready(venv, digest, level):
            return
        print(f"Setting up {venv.name} ({level}) with Python {sys.version.split()[0]}", file=sys.stderr)
        way = _install_with_first(installers(root, env), root, venv, level)
        way.install(python_of(venv), "--no-build-isolation", "--editable", str(root))
        compile_bytecode(root, python_of(venv), env)
        (venv / STATE).write_text(json.dumps({"digest": digest, "level": level}), encoding="utf-8")


_IMPORT = """\
import contextlib, importlib, sys
for name in sys.argv[1:]:
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
"""


def compile_bytecode(root: Path, python: Path, env: Mapping[str, str]) -> None:
    """Compile what workers import, which is more than a thousand modules, what is large, and llmops itself.

    uv leaves this to the first import, which keeps nothing where the environment forbids it to write.
    """
    writing = {name: value for name, value in env.items() if name != "PYTHONDONTWRITEBYTECODE"}
    run([str(python), str(root / "llmops" / "engine" / "worker"), "preload"], writing)
    run([str(python), "-m", "compileall", "-q", str(root / "llmops")], writing)
    run([str(python), "-c", _IMPORT, *LARGE], writing)


def _is_ready(venv: Path, digest: str, level: str) -> bool:
    try:
        state = json.loads((venv / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return state["digest"] == digest and level in {state["level"], "run"} and python_of(venv).exists()


def _install_with_first(ways: Iterator[Installer], root: Path, venv: Path, level: str) -> Installer:
    failures = []
    for way in ways:
        try:
            _make(way, root, venv, level)
        except SetupError as error:
            print(f"{way.name} failed: {error}", file=sys.stderr)
            failures.append(str(error))
        else:
            return way
    raise SetupError(f"no installer could set up {venv.name}; the last said: {failures[-1]}")


def _make(way: Installer, root: Path, venv: Path, level: str) -> None:
    if venv.is_symlink() or venv.is_file():
        venv.unlink()
    shutil.rmtree(venv, ignore_errors=True)
    way.create(venv, sys.executable)
    python = python_of(venv)
    for name in LEVELS[level]:
        way.install(python, "--require-hashes", "--requirement", str(root / name))


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("level", choices=LEVELS)
    parser.add_argument("--venv", default=".venv", help="folder of the environment, relative to the checkout")
    arguments = parser.parse_args(argv)
    try:
        set_up(ROOT, ROOT / arguments.venv, arguments.level, os.environ)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
