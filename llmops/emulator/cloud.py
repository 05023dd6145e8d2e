"""Everything that the emulated services share."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llmops.emulator.blobs import Blobs
from llmops.emulator.clock import timestamp
from llmops.emulator.containers import Containers
from llmops.emulator.errors import not_found
from llmops.emulator.faults import FaultRules
from llmops.emulator.hosting import Hosting
from llmops.emulator.job_environment import JobEnvironment
from llmops.emulator.jobs import Jobs
from llmops.emulator.journal import Journal
from llmops.emulator.operations import Operation, Operations
from llmops.emulator.runs import Runs
from llmops.emulator.scored import ScoredRequests
from llmops.emulator.settings import Settings
from llmops.emulator.store import Document, Store
from llmops.emulator.tokens import TokenService
from llmops.emulator.wire import Request

PROVIDER = "Microsoft.MachineLearningServices"
DATASTORE = "workspaceblobstore"
REGISTRY_PREFIX = "/mferp/managementfrontend"
REGISTRY_SUBSCRIPTION, REGISTRY_GROUP = "00000000-0000-0000-0000-0000000000ff", "registries"


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """One workspace; its state is found by subscription, resource group and name."""

    subscription: str
    resource_group: str
    name: str

    @classmethod
    def from_id(cls, workspace_id: str) -> Workspace:
        """Find a workspace by its id in Azure Resource Manager."""
        _, _, subscription, _, group, _, _, _, name = workspace_id.split("/")
        return cls(subscription=subscription, resource_group=group, name=name)

    @property
    def id(self) -> str:
        """Its id in Azure Resource Manager."""
        scope = f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
        return f"{scope}/providers/{PROVIDER}/workspaces/{self.name}"

    @property
    def guid(self) -> str:
        """Its other id; always the same for the same workspace."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, self.id.lower()))

    @property
    def container(self) -> str:
        """The blob container of its default datastore."""
        return f"azureml-blobstore-{self.guid}"

    @property
    def key(self) -> tuple[str, str]:
        """Where its documents are in the store."""
        return ("workspaces", self.id)

    def deployment_key(self, endpoint: str, deployment: str) -> tuple[str, ...]:
        """Where the document of a deployment is in the store."""
        return (*self.key, "onlineEndpoints", endpoint, "deployments", deployment)

    @property
    def kind(self) -> str:
        """Its type in Azure Resource Manager."""
        return f"{PROVIDER}/workspaces"


@dataclass(frozen=True, kw_only=True)
class Registry:
    """One registry; clients know its name and are told the rest."""

    name: str
    subscription: str = REGISTRY_SUBSCRIPTION
    resource_group: str = REGISTRY_GROUP

    @property
    def id(self) -> str:
        """What the ids of its assets begin with."""
        return f"azureml://registries/{self.name}"

    @property
    def key(self) -> tuple[str, str]:
        """Where its documents are in the store."""
        return ("registries", self.name)

    @property
    def kind(self) -> str:
        """Its type in Azure Resource Manager."""
        return f"{PROVIDER}/registries"


@dataclass(kw_only=True)
class Cloud:
    """The collaborators of the services.

    Attributes:
        python: interpreter in which flows run.
        folder: for files that this process needs: downloaded models, logs.
        settings: replaced as a whole when they change.
    """

    settings: Settings
    store: Store
    tokens: TokenService
    job_environment: JobEnvironment
    faults: FaultRules
    journal: Journal
    blobs: Blobs
    containers: Containers
    operations: Operations
    folder: Path
    python: str
    scored: ScoredRequests = field(default_factory=ScoredRequests)
    lock: threading.RLock = field(default_factory=threading.RLock)
    hosting: Hosting = field(init=False)
    runs: Runs = field(init=False)
    jobs: Jobs = field(init=False)

    def __post_init__(self) -> None:
        self.hosting = Hosting(self)
        self.runs = Runs(self)
        self.jobs = Jobs(self)
        for document in self.store.children("workspaces"):
            self._put_connections("workspaces", document["id"])  # those of before may lead nowhere by now

    def open_workspace(self, workspace: Workspace) -> Document:
        """Return a workspace, making it when it is first asked for.

        Raises:
            RefusalError: 404, there is none of that name.
        """
        found = self.store.get(*workspace.key)
        if found is not None:
            return found
        if self.settings.workspaces and workspace.name.lower() not in map(str.lower, self.settings.workspaces):
            raise not_found(
                f"'{PROVIDER}/workspaces/{workspace.name}' under resource group '{workspace.resource_group}'"
            )
        with self.lock:
            if (found := self.store.get(*workspace.key)) is None:
                self.blobs.make_container(workspace.container)
                found = self._make_workspace(workspace)
        return found

    def open_registry(self, registry: Registry) -> None:
        """Make sure that there is a registry.

        Raises:
            RefusalError: 404, there is none of that name, or it is elsewhere.
        """
        known = self.settings.registries
        is_known = not known or registry.name.lower() in map(str.lower, known)
        is_here = (registry.subscription, registry.resource_group.lower()) == (REGISTRY_SUBSCRIPTION, REGISTRY_GROUP)
        if not (is_known and is_here):
            raise not_found(f"registry '{registry.name}'")

    def change_settings(self, **changes: Any) -> None:
        """Change some of the settings, by name."""
        with self.lock:
            self.settings = replace(self.settings, **changes)
            self.tokens.lifetime_s = self.settings.token_s

    def connections_of(self, guid: str) -> list[Document]:
        """Return the connections of a workspace, secrets included."""
        for document in self.store.children("workspaces"):
            if document["guid"] == guid:
                return self.store.children("workspaces", document["id"], "connections")
        return []

    def _put_connections(self, *key: str) -> None:
        for name, connection in self.settings.connections.items():
            self.store.put(*key, "connections", name, document={"name": name, **connection})

    def _make_workspace(self, workspace: Workspace) -> Document:
        self._put_connections(*workspace.key)
        document = {"id": workspace.id, "name": workspace.name, "guid": workspace.guid, "createdAt": timestamp()}
        return self.store.put(*workspace.key, document=document)


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request on its way to what answers it.

    Attributes:
        names: parts of the path, by the route's placeholders.
        caller: what the token claims; empty where none is demanded.
        registry: that is asked instead of the workspace; None for all other requests.
    """

    cloud: Cloud
    request: Request
    workspace: Workspace
    names: Mapping[str, str]
    caller: Mapping[str, Any]
    registry: Registry | None = None

    @property
    def home(self) -> Workspace | Registry:
        """Whose resources the request is about."""
        return self.registry or self.workspace

    @property
    def base(self) -> str:
        """Scheme and host that the client used; what it is told to ask next must be reachable the same way."""
        return f"https://{self.request.host}"

    @property
    def account(self) -> str:
        """The storage account as clients put it before `.blob.core.windows.net`.

        A custom cloud has no host names below it, so there the account's place is spelled as a path.
        """
        name, host = self.cloud.blobs.account.name, self.request.host
        return name if host.endswith((".azure.com", ".azureml.ms", ".azureml.net")) else f"{host}/{name}"

    def blob_address(self, container: str, blob: str = "") -> str:
        """Build the address of a container, or of a blob in it, as this client reaches it."""
        return f"https://{self.account}.blob.core.windows.net/{container}/{blob}".rstrip("/")

    def key(self, *path: str) -> tuple[str, ...]:
        """Where a document of the workspace, or of the registry, is in the store."""
        return (*self.home.key, *path)

    def find(self, *path: str) -> Document:
        """Return a document of the workspace.

        Raises:
            RefusalError: 404, there is none.
        """
        found = self.cloud.store.get(*self.key(*path))
        if found is None:
            raise not_found(f"'{'/'.join(path)}' in workspace '{self.workspace.name}'")
        return found

    def envelope(self, kind: str, path: str, name: str, before: Document | None = None) -> Document:
        """Build what every resource of Azure Resource Manager begins with.

        Args:
            kind: type below the workspace or the registry, for instance `models/versions`.
            path: the resource below it.
            name: of the resource.
            before: the resource as it was; it keeps its creation.
        """
        now, person = timestamp(), str(self.caller.get("appid", ""))
        created = (before or {}).get("systemData") or {
            "createdAt": now,
            "createdBy": person,
            "createdByType": "Application",
        }
        return {
            "id": f"{self.home.id}/{path}",
            "name": name,
            "type": f"{self.home.kind}/{kind}",
            "systemData": {
                **created,
                "lastModifiedAt": now,
                "lastModifiedBy": person,
                "lastModifiedByType": "Application",
            },
        }

    def hints(self) -> dict[str, str]:
        """Build the headers that say when to poll next."""
        settings = self.cloud.settings
        hints = {"x-ms-retry-after-ms": str(settings.poll_ms)} if settings.poll_ms else {}
        return {**hints, "Retry-After": str(settings.retry_after_s)} if settings.retry_after_s else hints

    def status_headers(self, operation: Operation) -> dict[str, str]:
        """Build the headers of a PUT whose work goes on."""
        url = self._operation_url("mfeOperationsStatus", operation)
        return {"Azure-AsyncOperation": url, "x-ms-async-operation-timeout": "PT1H", **self.hints()}

    def location_headers(self, operation: Operation) -> dict[str, str]:
        """Build the headers of a DELETE or POST whose work goes on."""
        url = self._operation_url("mfeOperationResults", operation)
        return {"Location": url, "x-ms-async-operation-timeout": "PT1H", **self.hints()}

    def _operation_url(self, kind: str, operation: Operation) -> str:
        region = self.cloud.settings.region
        place = f"/subscriptions/{self.home.subscription}/providers/{PROVIDER}/locations/{region}"
        prefix = REGISTRY_PREFIX if self.registry else ""
        return f"{self.base}{prefix}{place}/{kind}/{operation.id}?api-version=2022-02-01-preview"
