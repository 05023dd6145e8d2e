"""Throwaway virtual environments, made from the lock files, for tests of what users install."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tools.setup_venv import Installer, Uv, exclusive, installers, python_of

READY = "llmops-ready"


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """Makes environments and the wheel.

    Attributes:
        root: the checkout.
        env: reaches the package registries; holds no credentials.
        installer: uv or pip, as the set-up chose.
    """

    root: Path
    env: dict[str, str]
    installer: Installer

    def make(self, venv: Path, *locks: str) -> Path:
        """Make an environment from lock files; returns its Python."""
        self.installer.create(venv, sys.executable)
        for lock in locks:
            self._install(python_of(venv), "--no-deps", "--require-hashes", "--requirement", str(self.root / lock))
        return python_of(venv)

    def _install(self, python: Path, *arguments: str) -> None:
        """Install; what a test imports is compiled when it is imported, and most is not."""
        if isinstance(self.installer, Uv):
            command = [self.installer.executable, "pip", "install", "--quiet", "--python", str(python)]
        else:
            command = [str(python), "-m", "pip", "install", "--quiet", "--no-compile"]
        subprocess.run([*command, *arguments], env=self.env, check=True)

    def cached(self, name: str, *locks: str) -> Path:
        """Make an environment once per content of its lock files; tests must not change it. Returns its Python."""
        digest = hashlib.sha256(sys.version.encode() + sys.base_prefix.encode())
        for lock in locks:
            digest.update((self.root / lock).read_bytes())
        home = self.root / ".cache" / "venvs"
        venv = home / f"{name}-{digest.hexdigest()[:16]}"
        with exclusive(home / f"{name}.lock"):
            if not (venv / READY).exists():
                for old in home.glob(f"{name}-*"):
                    shutil.rmtree(old)
                self.make(venv, *locks)
                (venv / READY).touch()
        return python_of(venv)

    def build_wheel(self, folder: Path) -> Path:
        """Build the wheel in an isolated environment, as an index user would get it."""
        if isinstance(self.installer, Uv):
            command = [self.installer.executable, "build", "--quiet", "--wheel", "--out-dir", str(folder)]
        else:
            command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder)]
        subprocess.run([*command, str(self.root)], env=self.env, check=True)
        (wheel,) = folder.glob("*.whl")
        return wheel

    def install_wheel(self, python: Path, wheel: Path, extra: str = "") -> None:
        """Install the wheel and, from no index, prove that the lock files hold all that it asks for."""
        self._install(python, "--no-index", f"{wheel}[{extra}]" if extra else str(wheel))


def copy_example(root: Path, folder: Path) -> Path:
    """Copy what a user has, flows, configuration and data, and no llmops beside them; returns the folder."""
    for name in ("flows", "config", "data"):
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".promptflow"))
    return folder


@pytest.fixture(scope="session")
def workshop(root: Path, open_environment: dict[str, str]) -> Workshop:
    """Where environments are made; for tests marked `registry`."""
    with exclusive(root / ".cache" / "setup.lock"):
        installer = next(installers(root, open_environment))
    return Workshop(root=root, env=open_environment, installer=installer)


@pytest.fixture(scope="session")
def wheel(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The built wheel; parallel workers share one."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    with exclusive(shared / "wheel.lock"):
        found = list((shared / "wheel").glob("*.whl"))
        return found[0] if found else workshop.build_wheel(shared / "wheel")
