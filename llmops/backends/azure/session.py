"""One workspace as this process reaches it: who we are, the SDKs' clients, own retries, errors in our words."""

from __future__ import annotations

import os
import random
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from llmops.backends.azure.credentials import build_credential, principal_in
from llmops.backends.azure.quiet import hush, quiet
from llmops.backends.azure.refusals import BusyError, facts_of, sdk_errors, translate
from llmops.backends.azure.settings import AzureSettings, read_settings
from llmops.config.model import Environment
from llmops.errors import TransientError, UsageError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.credentials import TokenCredential
    from promptflow.azure import PFClient

T = TypeVar("T")

_CLOUD_VARIABLE = "AZUREML_CURRENT_CLOUD"
_JITTER = 0.2
_lock = threading.RLock()
_sessions: dict[AzureSettings, AzureSession] = {}
_first_in: dict[str, AzureSession] = {}
"""Workspace to the session whose identity prompt flow goes on with, see `_claim_workspace`."""
_importing: threading.Thread | None = None


@dataclass(eq=False)
class AzureSession:
    """A workspace, and all that this process needs to talk to it; get one from `open_session`.

    Args:
        settings: which workspace, as whom.
        env: environment variables, for identities.
        sleep: waits between attempts.
    """

    settings: AzureSettings
    env: Mapping[str, str]
    sleep: Callable[[float], None] = field(default=time.sleep)

    @cached_property
    def credential(self) -> TokenCredential:
        """The chain of identities.

        Raises:
            UsageError: an identity is named that this machine does not have, or the Azure packages are missing.
        """
        require_sdks()
        return build_credential(self.settings, self.env)

    @property
    def principal(self) -> str:
        """Who we are to Azure, whichever way that is proved."""
        scope = f"{self.settings.cloud.resource_manager}/.default"
        return principal_in(self.call("find out who we are", lambda: self.credential.get_token(scope).token))

    @cached_property
    def ml(self) -> MLClient:
        """The client of `azure-ai-ml`: built once, when it is first needed."""
        require_sdks()
        with _lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._claim_cloud()
            from azure.ai.ml import MLClient

            settings = self.settings
            return MLClient(
                self.credential,
                settings.subscription_id,
                settings.resource_group,
                settings.workspace,
                show_progress=False,
                enable_telemetry=False,
                retry_backoff_factor=settings.retries.first_wait_s * 0.8,
                **self.cloud_keywords(),
            )

    @cached_property
    def pf(self) -> PFClient:
        """The client of `promptflow.azure`: built once, over `ml`.

        Its constructor asks for the workspace, so building it may raise what `call` raises.

        Raises:
            UsageError: this process reaches the workspace through prompt flow as somebody else already.
        """
        ml = self.ml
        with _lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._claim_workspace()
            from promptflow.azure import PFClient

            client = self.call(f"open the workspace '{self.settings.workspace}'", lambda: PFClient(ml_client=ml))
            _first_in.setdefault(self.settings.workspace_id.lower(), self)
            return client

    def cloud_keywords(self) -> Mapping[str, Any]:
        """Return the keywords with which the SDKs' clients reach another cloud than the public one."""
        cloud = self.settings.cloud
        if cloud.is_own:
            return {"cloud": cloud.name, "cloud_metadata": dict(cloud.metadata())}
        return {} if cloud.name == "AzureCloud" else {"cloud": cloud.name}

    def call(self, what: str, work: Callable[[], T], *, waits: bool = True) -> T:
        """Make a call to Azure, again when it failed in passing, and raise our errors only.

        The SDKs retry some calls themselves and others not at all (see the contract, sections 2.1 and 4); this holds
        for all. Use it only for what may be done twice: whether a call that failed in passing took effect is not known.

        Args:
            what: a clause for messages, for instance `read the endpoint 'web-dev'`.
            work: makes the call.
            waits: for a resource that another operation is changing; else a 409 is raised at once.

        Raises:
            NotThereError: 404.
            BusyError: 409, and it stayed so for `retries.busy_s`.
            TransientError: every attempt failed in passing.
            BackendError: Azure refused.
        """
        retries, started, attempt = self.settings.retries, time.monotonic(), 0
        while True:
            attempt += 1
            try:
                return work()
            except sdk_errors() as error:
                refusal = translate(error, what)
                is_busy = isinstance(refusal, BusyError)
                in_time = waits and time.monotonic() - started < retries.busy_s
                may_try = in_time if is_busy else attempt < retries.attempts
                if not isinstance(refusal, TransientError) or not may_try:
                    raise refusal from error
                self.sleep(self._wait_s(attempt, facts_of(error).retry_after_s))

    def close(self) -> None:
        """Close the connections of the identities; for tests, which look for what is left open."""
        credential = self.__dict__.pop("credential", None)
        if credential is not None:
            credential.close()

    def _wait_s(self, attempt: int, asked_s: float | None) -> float:
        retries = self.settings.retries
        wait_s = asked_s if asked_s is not None else retries.first_wait_s * 2 ** min(attempt - 1, 16)
        return min(wait_s, retries.longest_wait_s) * random.uniform(1 - _JITTER, 1 + _JITTER)

    def _claim_cloud(self) -> None:
        """Refuse a second cloud in one process: `MLClient` keeps the first in a variable of the process."""
        chosen = os.environ.get(_CLOUD_VARIABLE)
        if chosen and chosen != self.settings.cloud.name and any(one is not self for one in _sessions.values()):
            raise UsageError.of(
                "two clouds in one command",
                found=f"'{chosen}' and '{self.settings.cloud.name}'",
                expected="environments of one cloud: the Azure SDKs can serve one cloud per process",
            )

    def _claim_workspace(self) -> None:
        """Refuse a second identity for one workspace in one process: what it starts would be started as the first one.

        Prompt flow keeps what calls its service, credential included, by workspace for as long as the process lives,
        and offers no way around (`promptflow.azure._restclient.service_caller_factory`, 1.18.5).
        """
        first = _first_in.get(self.settings.workspace_id.lower(), self)
        before, now = first.settings.identity, self.settings.identity
        if before == now or first.principal == self.principal:
            return
        raise UsageError.of(
            "two identities for one workspace in one command",
            where=f"workspace '{self.settings.workspace}'",
            found=f"{before} and {now}",
            expected="one: prompt flow goes on as the first for as long as the command runs",
            fix="Let the environments of this workspace share azure.client_id, azure.tenant_id and azure.credentials, "
            "or name one environment in each command.",
        )


def open_session(environment: Environment, state: Path, env: Mapping[str, str]) -> AzureSession:
    """Return the one session of a workspace in this process; nothing is sent and nothing heavy is imported yet.

    Args:
        environment: names the workspace.
        state: the project's `.llmops/` folder; prompt flow's own files go below it unless PF_HOME_DIRECTORY is set.
        env: environment variables.

    Raises:
        UsageError: the environment does not say which workspace.
    """
    settings = read_settings(environment, env)
    hush()
    with _lock:
        if "PF_HOME_DIRECTORY" not in os.environ:
            # Read by the SDKs when they are imported; there is no other way to tell them.
            os.environ.update(quiet(state / "promptflow"))
        session = _sessions.get(settings)
        if session is None or session.env != env:
            session = _sessions[settings] = AzureSession(settings, env)
        return session


def all_sessions() -> list[AzureSession]:
    """Return the sessions of this process."""
    with _lock:
        return list(_sessions.values())


def import_in_background(*modules: str) -> None:
    """Start to import modules that take seconds, while other work goes on; the next `import` waits for the rest.

    Args:
        modules: for instance `promptflow.azure`.
    """
    global _importing  # noqa: PLW0603 one thread per process
    with _lock:
        if _importing is None:
            _importing = threading.Thread(target=_import, args=modules, daemon=True, name="azure-imports")
            _importing.start()


def _import(*modules: str) -> None:
    import contextlib
    import importlib

    with warnings.catch_warnings(), contextlib.suppress(ImportError):  # whoever needs it will see the error
        warnings.simplefilter("ignore")
        for name in modules:
            importlib.import_module(name)


def require_sdks() -> None:
    """Refuse to go on without the Azure packages.

    Raises:
        UsageError: they are not installed.
    """
    import importlib.util

    for name in ("azure.identity", "azure.mgmt.core", "azure.storage.blob", "azure.ai.ml"):
        try:
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            spec = None
        if spec is None:
            raise UsageError.of(
                "the Azure packages are not installed", found=f"no {name}", fix="pip install 'llmops[azure]'"
            )
