"""Azure Resource Manager, one request at a time: what `azure-ai-ml` cannot say, or says in a way that harms.

Its endpoint and deployment calls send back junk that they read, cannot set traffic and tags in one step, start threads
that poll and print dots to standard output, poll every 30 s, and die when a time limit passes (contract, sections 2.2,
3.6 and 7). The requests here are those of the contract, over the SDK's own pipeline: `azure-mgmt-core`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from llmops import __version__
from llmops.backends.azure.refusals import NotThereError, RefusedError
from llmops.backends.azure.session import AzureSession
from llmops.errors import BackendError, DeadlineError

if TYPE_CHECKING:
    from azure.mgmt.core import ARMPipelineClient

Document = dict[str, Any]

BUSY_STATES = frozenset({"Creating", "Updating", "Deleting", "Accepted", "Running"})
_CONNECT_S, _READ_S = 20.0, 120.0
_LONGEST_POLL_S = 10.0
_POLL_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer that was no error.

    Attributes:
        body: empty when there was none.
        poll_s: seconds until it is worth asking again.
        operation: address that tells how the operation goes on; empty when there is none.
        location: address that tells how it ended; empty when there is none.
    """

    status: int
    body: Document
    poll_s: float = _POLL_S
    operation: str = ""
    location: str = ""


@dataclass(frozen=True)
class Arm:
    """Requests to the resources of one workspace and around it; every one may be sent twice."""

    session: AzureSession

    def path(self, rest: str) -> str:
        """Name a resource of the workspace: `onlineEndpoints/web` to its full path."""
        return f"{self.session.settings.workspace_id}/{rest}".rstrip("/")

    def get(self, path: str, *, version: str, what: str) -> Document | None:
        """Read a resource, None when there is none."""
        try:
            return self.send("GET", path, version=version, what=what).body
        except NotThereError:
            return None

    def list(self, path: str, *, version: str, what: str) -> Iterator[Document]:
        """Yield the resources of a list, over all of its pages; nothing when there is no such list."""
        page = self.get(path, version=version, what=what) or {}
        yield from page.get("value", [])
        while next_link := page.get("nextLink"):
            page = self.get(next_link, version="", what=what) or {}  # the address has the version
            yield from page.get("value", [])

    def send(self, method: str, path: str, *, version: str, what: str, body: Any = None, waits: bool = True) -> Reply:
        """Send one request, again when it failed in passing.

        Args:
            method: of HTTP.
            path: from `path`, or an address that Azure gave.
            version: of the API; empty when the address has it.
            what: a clause for messages.
            body: JSON values.
            waits: see `AzureSession.call`.

        Raises:
            NotThereError, BusyError, TransientError, BackendError: see `AzureSession.call`.
        """
        return self.session.call(what, lambda: self._send(method, path, version, body), waits=waits)

    def wait(self, path: str, *, version: str, what: str, reply: Reply, timeout_s: float) -> Document | None:
        """Wait until a resource is not being changed any more.

        The resource is asked rather than the operation: that works after a lost answer, in another process, and when
        the operation is forgotten.

        Args:
            path: of the resource.
            version: of the API.
            what: was being done.
            reply: to the request that began it.
            timeout_s: seconds to wait at most.

        Returns:
            The resource, None when it is gone.

        Raises:
            RefusedError: the operation failed; with Azure's own code and message where they are known.
            DeadlineError: it goes on.
        """
        found = self.settle(path, version=version, what=what, reply=reply, timeout_s=timeout_s)
        state = state_of(found) if found else "Deleted"
        if state in ("Failed", "Canceled"):
            raise self.failure(what, reply.operation or operation_of(found or {}), state)
        return found

    def settle(self, path: str, *, version: str, what: str, reply: Reply, timeout_s: float) -> Document | None:
        """As `wait`, but a resource that has failed is fine: it is not being changed any more."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.get(path, version=version, what=what)
            state = state_of(found) if found else "Deleted"
            if state not in BUSY_STATES:
                return found
            if time.monotonic() >= deadline:
                raise DeadlineError.of(f"Azure did not {what} in {timeout_s:g} s", found=f"state {state}")
            self.session.sleep(reply.poll_s)

    def failure(self, what: str, operation: str, state: str) -> RefusedError:
        """Build the error of an operation that failed, with what Azure says of it."""
        try:
            details = self.reason(operation, what)
        except BackendError:
            details = {}  # that it failed is said without it
        code, message = str(details.get("code", "")), str(details.get("message", ""))
        error = RefusedError.of(f"Azure could not {what}", found=f"{code or state}: {message or 'no reason given'}")
        error.code = code
        return error

    def reason(self, operation: str, what: str) -> Document:
        """Read `code` and `message` of an operation that failed; empty when its address is, or when it says nothing."""
        if not operation:
            return {}
        found = self.get(operation, version="", what=f"read why Azure could not {what}") or {}
        return found.get("error") or {}

    def close(self) -> None:
        """Close the connections; they open again when they are needed."""
        client = self.__dict__.pop("_client", None)
        if client is not None:
            client.close()

    @cached_property
    def _client(self) -> ARMPipelineClient[Any, Any]:
        from azure.core.pipeline.policies import (
            ContentDecodePolicy,
            HeadersPolicy,
            RequestIdPolicy,
            UserAgentPolicy,
        )
        from azure.mgmt.core import ARMPipelineClient
        from azure.mgmt.core.policies import ARMChallengeAuthenticationPolicy

        base = self.session.settings.cloud.resource_manager
        policies = [
            RequestIdPolicy(),
            HeadersPolicy({"Accept": "application/json"}),
            UserAgentPolicy(f"llmops/{__version__}"),
            ContentDecodePolicy(),
            ARMChallengeAuthenticationPolicy(self.session.credential, f"{base}/.default"),
        ]
        return ARMPipelineClient(base_url=base, policies=policies, connection_timeout=_CONNECT_S, read_timeout=_READ_S)

    def _send(self, method: str, path: str, version: str, body: Any) -> Reply:
        from azure.core.rest import HttpRequest

        url = path if path.startswith("https://") else f"{self.session.settings.cloud.resource_manager}{path}"
        params = {"api-version": version} if version else None
        response = self._client.send_request(HttpRequest(method, url, params=params, json=body))
        response.raise_for_status()
        content = response.content
        return Reply(
            status=response.status_code,
            body=response.json() if content else {},
            poll_s=_poll_s(response.headers),
            operation=response.headers.get("Azure-AsyncOperation", ""),
            location=response.headers.get("Location", ""),
        )


def state_of(resource: Document) -> str:
    """Read the provisioning state of a resource; without one it is ready."""
    return str((resource.get("properties") or {}).get("provisioningState") or "Succeeded")


def operation_of(resource: Document) -> str:
    """Find the address of the last operation in a resource; empty when Azure did not leave it there."""
    inner = (resource.get("properties") or {}).get("properties") or {}
    return str(inner.get("AzureAsyncOperationUri") or "")


def _poll_s(headers: Mapping[str, str]) -> float:
    for name, unit in (("Retry-After", 1.0), ("retry-after-ms", 1e-3), ("x-ms-retry-after-ms", 1e-3)):
        value = headers.get(name, "")
        if value.isdecimal() and int(value):
            return min(int(value) * unit, _LONGEST_POLL_S)
    return _POLL_S
