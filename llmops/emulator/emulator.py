"""The emulator as a whole: started, pointed to, asked, closed."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import types
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from llmops.emulator.azurite_process import Account, Azurite, install_azurite, make_account
from llmops.emulator.blobs import Blobs
from llmops.emulator.certificates import Certificates, make_certificates
from llmops.emulator.cloud import Cloud
from llmops.emulator.containers import Containers
from llmops.emulator.control import ControlPage
from llmops.emulator.environment import environment
from llmops.emulator.faults import FaultRules
from llmops.emulator.job_environment import JobEnvironment
from llmops.emulator.journal import Journal
from llmops.emulator.operations import Operations
from llmops.emulator.server import EmulatorServer
from llmops.emulator.service import Service, service_of
from llmops.emulator.settings import Settings
from llmops.emulator.store import Store
from llmops.emulator.surroundings import clean_environment
from llmops.emulator.tokens import TokenService

if TYPE_CHECKING:
    from typing_extensions import Self

ACCOUNT = "llmopsemulator"


class Emulator:
    """The running emulator; use it as a context manager or call `close`.

    Args:
        azurite: the script from `install_azurite`.
        settings: how the service behaves.
        port: 0 picks a free one.
        folder: keeps the state, blobs included; None forgets it at the end.
        certificates: to use instead of new ones, for clients that read theirs before the emulator starts.
        python: interpreter in which flows run and deployments serve; it needs promptflow-core.

    Raises:
        BackendError, DeadlineError: Azurite does not start.
        OSError: the port is taken.
    """

    def __init__(
        self,
        *,
        azurite: Path,
        settings: Settings | None = None,
        port: int = 0,
        folder: Path | None = None,
        certificates: Certificates | None = None,
        python: str = sys.executable,
    ) -> None:
        self._open = contextlib.ExitStack()
        try:
            self._start(azurite, settings or Settings(), port, folder, certificates, python)
        except BaseException:
            self._open.close()
            raise

    def _start(
        self,
        azurite: Path,
        settings: Settings,
        port: int,
        folder: Path | None,
        certificates: Certificates | None,
        python: str,
    ) -> None:
        self.folder = Path(folder or tempfile.mkdtemp(prefix="llmops-emulator-")).absolute()
        if folder is None:
            self._open.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.certificates = certificates or make_certificates(self.folder / "certificates", settings.region)
        blob_service = Azurite(
            script=azurite,
            account=_account(self.folder),
            certificates=self.certificates,
            folder=self.folder / "azurite",
            keep=folder is not None,
        )
        self._open.callback(blob_service.close)
        containers = Containers(clean_environment(os.environ))
        self._open.callback(containers.close)
        interpreter = str(Path(python).absolute())
        tokens = TokenService(lifetime_s=settings.token_s)
        jobs = JobEnvironment(
            tokens=tokens, authority=self.certificates.authority, clean=containers.environ, folder=self.folder
        )
        self.cloud = _cloud(
            settings, Blobs(blob_service), containers, jobs, self.folder, interpreter, keep=folder is not None
        )
        self._open.callback(self.cloud.hosting.close)
        self._open.callback(self.cloud.operations.cancel_all)
        self._open.callback(self.cloud.runs.close)
        self._open.callback(self.cloud.jobs.close)
        self._server = _server(self.cloud, self.certificates, port)
        self.cloud.job_environment.url = self.url
        self._server.start()
        self._open.callback(self._server.close)

    @property
    def port(self) -> int:
        """The one port: proxy, TLS and control page."""
        return self._server.port

    @property
    def url(self) -> str:
        """Address of the proxy and of the control page."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> Mapping[str, str]:
        """Return the variables with which the SDKs of a child process reach the emulator and nothing else."""
        return environment(url=self.url, authority=self.certificates.authority, home=self.folder / "promptflow")

    def close(self) -> None:
        """End everything; closing twice is fine."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: types.TracebackType | None
    ) -> None:
        self.close()


def _account(folder: Path) -> Account:
    """Return the account; its key is kept beside the blobs that it opens."""
    file = folder / "account.key"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(make_account(ACCOUNT).key, encoding="ascii")
    return Account(name=ACCOUNT, key=file.read_text(encoding="ascii"))


def _cloud(
    settings: Settings,
    blobs: Blobs,
    containers: Containers,
    jobs: JobEnvironment,
    folder: Path,
    python: str,
    *,
    keep: bool,
) -> Cloud:
    return Cloud(
        settings=settings,
        store=Store(folder / "state.json" if keep else None),
        tokens=jobs.tokens,
        job_environment=jobs,
        faults=FaultRules(),
        journal=Journal(),
        blobs=blobs,
        containers=containers,
        operations=Operations(),
        folder=folder,
        python=python,
    )


def _server(cloud: Cloud, certificates: Certificates, port: int) -> EmulatorServer:
    return EmulatorServer(
        port=port,
        context=certificates.server_context(),
        is_known=lambda host: service_of(host) is not None,
        may_leave=cloud.job_environment.may_leave,
        answer=Service(cloud).answer,
        control=ControlPage(cloud).answer,
        journal=cloud.journal,
    )


def default_cache() -> Path:
    """Name the folder in which Azurite is installed once for this user."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "llmops"


__all__ = ["Emulator", "default_cache", "install_azurite"]
