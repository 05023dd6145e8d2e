"""Blobs of a container, a workspace's or another: written whole, or only if nobody else was first."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from llmops.backends.azure.arm import Arm, Document
from llmops.backends.azure.session import AzureSession
from llmops.errors import BackendError, LlmopsError

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

T = TypeVar("T")

VERSION = "2024-07-01-preview"
_SIGNATURE_S = 1800.0
_FORBIDDEN = 403
_AT_ONCE = 8
_CONNECT_S, _READ_S = 20.0, 120.0
_OPTIONS: Mapping[str, Any] = {"retry_total": 0, "connection_timeout": _CONNECT_S, "read_timeout": _READ_S}
"""Own retries: the client's begin with 15 s."""


class Blob(NamedTuple):
    """One blob.

    Attributes:
        content: None when there is no such blob.
        etag: of these very bytes; empty when there is none.
        now: the service's clock when it answered, seconds since the epoch.
    """

    content: bytes | None
    etag: str
    now: float


class Listed(NamedTuple):
    """One blob of a list; `created_at` is seconds since the epoch."""

    name: str
    size: int
    metadata: Mapping[str, str]
    created_at: float


class Container(ABC):
    """One container, which is opened when it is first needed, and again before its signature runs out."""

    def __init__(self, session: AzureSession) -> None:
        self._session = session
        self._client: ContainerClient | None = None
        self._since = 0.0
        self._lock = threading.Lock()

    @property
    @abstractmethod
    def uri(self) -> str:
        """Address of the container."""

    @abstractmethod
    def _open(self) -> ContainerClient: ...

    def close(self) -> None:
        """Close the connections; they open again when they are needed."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    def read(self, name: str, what: str) -> Blob:
        """Read a blob."""
        from azure.core.exceptions import ResourceNotFoundError

        def read(container: ContainerClient) -> Blob:
            dates: list[str] = []
            try:
                stream = container.download_blob(
                    name, raw_response_hook=lambda answer: dates.append(answer.http_response.headers.get("Date", ""))
                )
                return Blob(stream.readall(), stream.properties.etag, _seconds(dates[0]))
            except ResourceNotFoundError as error:
                return Blob(None, "", _seconds(error.response.headers.get("Date", "")))

        return self._call(what, read)

    def write(
        self,
        name: str,
        content: bytes,
        what: str,
        *,
        etag: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> bool:
        """Write a blob if it is as it was.

        Args:
            name: in the container.
            content: all of it.
            what: a clause for messages.
            etag: of the blob that is to be replaced; None: there must be none.
            metadata: short texts, kept with it.

        Returns:
            False when someone else was first; also when an earlier attempt of this very call was, so look again.
        """
        from azure.core import MatchConditions
        from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError

        condition = MatchConditions.IfNotModified if etag else MatchConditions.IfMissing
        more = {"etag": etag} if etag else {}

        def write(container: ContainerClient) -> bool:
            try:
                container.upload_blob(
                    name,
                    content,
                    overwrite=bool(etag),
                    match_condition=condition,
                    metadata=dict(metadata or {}),
                    **more,
                )
            except (ResourceExistsError, ResourceModifiedError, ResourceNotFoundError):
                return False
            return True

        return self._call(what, write)

    def put_missing(self, folder: str, files: Mapping[str, bytes | Path], what: str) -> None:
        """Write the files that are not there yet, or not whole, so that whoever comes later goes on.

        Args:
            folder: what their names begin with.
            files: path below the folder to content, or to the file that holds it.
            what: a clause for messages.
        """
        there = {one.name: one.size for one in self.list(f"{folder}/", what)}
        missing = [path for path, content in files.items() if there.get(f"{folder}/{path}") != _size(content)]
        with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda path: self.put(f"{folder}/{path}", files[path], what), missing))

    def put(self, name: str, content: bytes | Path, what: str) -> None:
        """Write a blob over what is there; a file is read as it is sent."""

        def put(container: ContainerClient) -> None:
            with contextlib.ExitStack() as opened:
                data = opened.enter_context(content.open("rb")) if isinstance(content, Path) else content
                container.upload_blob(name, data, overwrite=True)

        self._call(what, put)

    def delete(self, name: str, what: str, *, etag: str) -> bool:
        """Delete a blob if it is as it was; False when it is not, or is gone."""
        from azure.core import MatchConditions
        from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError

        def delete(container: ContainerClient) -> bool:
            try:
                container.delete_blob(name, etag=etag, match_condition=MatchConditions.IfNotModified)
            except (ResourceModifiedError, ResourceNotFoundError):
                return False
            return True

        return self._call(what, delete)

    def list(self, prefix: str, what: str) -> list[Listed]:
        """List the blobs whose names begin so, with what was kept with them, oldest first."""

        def names(container: ContainerClient) -> Iterator[Listed]:
            for found in container.list_blobs(name_starts_with=prefix, include=["metadata"]):
                created = found.creation_time or found.last_modified
                yield Listed(found.name, found.size, dict(found.metadata or {}), created.timestamp() if created else 0)

        listed = self._call(what, lambda container: list(names(container)))
        return sorted(listed, key=lambda one: (one.created_at, one.name))

    def download(self, prefix: str, folder: Path, what: str) -> int:
        """Write all blobs below a prefix into a folder; returns how many there were."""
        stem = f"{prefix.rstrip('/')}/"
        names = [one.name for one in self.list(stem, what)]
        for name in names:
            target = folder / name[len(stem) :]
            if not target.resolve().is_relative_to(folder.resolve()):
                raise BackendError.of("a blob whose name leaves its folder", where=name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self.read(name, what).content or b"")
        return len(names)

    def _call(self, what: str, work: Callable[[ContainerClient], T]) -> T:
        from azure.core.exceptions import HttpResponseError

        def once() -> T:
            client = self._container()
            try:
                return work(client)
            except HttpResponseError as error:
                if error.status_code != _FORBIDDEN or time.monotonic() - self._since < 1:
                    raise
                self._since = 0.0  # the signature may have run out; ask for another
                return work(self._container())

        return self._session.call(what, once)

    def _container(self) -> ContainerClient:
        with self._lock:
            if self._client is None or not self._since or time.monotonic() - self._since > _SIGNATURE_S:
                before, self._client = self._client, self._open()
                if before is not None:
                    before.close()
                self._since = time.monotonic()
            return self._client


class Blobs(Container):
    """The container of a datastore of a workspace, reached by a signature of one hour or as ourselves.

    Args:
        arm: the workspace.
        name: of the datastore; empty for the workspace's default one.
    """

    def __init__(self, arm: Arm, name: str = "") -> None:
        super().__init__(arm.session)
        self.arm = arm
        self._name = name
        self._datastore: Document = {}

    @property
    def datastore(self) -> Document:
        """The datastore as Azure describes it."""
        if not self._datastore and self._name:
            path, what = self.arm.path(f"datastores/{self._name}"), f"read the datastore '{self._name}'"
            self._datastore = self.arm.send("GET", path, version=VERSION, what=what).body
        if not self._datastore:
            path = f"{self.arm.path('datastores')}?count=30&isDefault=true&orderByAsc=false"
            found = list(self.arm.list(path, version=VERSION, what="find the workspace's default datastore"))
            if not found:
                raise BackendError.of(
                    "the workspace has no default datastore", where=self.arm.session.settings.workspace
                )
            self._datastore = found[0]
        return self._datastore

    @property
    def uri(self) -> str:
        """Address of the container."""
        properties = self.datastore["properties"]
        account = f"https://{properties['accountName']}.blob.{properties.get('endpoint') or 'core.windows.net'}"
        return f"{account}/{properties['containerName']}"

    def _open(self) -> ContainerClient:
        from azure.storage.blob import ContainerClient

        account, _, container = self.uri.rpartition("/")
        signature = self._signature()
        return ContainerClient(account, container, credential=signature or self.arm.session.credential, **_OPTIONS)

    def _signature(self) -> str:
        """Return a signature for the container; empty when we are to come as ourselves.

        A refusal means the same, as it does for the SDK: without the role to read the secret, a role on the blobs
        themselves may still do.
        """
        properties = self.datastore["properties"]
        if (properties.get("credentials") or {}).get("credentialsType") in (None, "None"):
            return ""
        name = self.datastore["name"]
        body = {"expirableSecret": True, "expireAfterHours": 1}
        try:
            path = self.arm.path(f"datastores/{name}/listSecrets")
            reply = self.arm.send("POST", path, version=VERSION, what="get a signature for the datastore", body=body)
        except LlmopsError:
            return ""
        return str(reply.body.get("sasToken") or "")


class SignedContainer(Container):
    """A container that Azure gave a signature for; it is not renewed, because another one may lead elsewhere.

    Args:
        session: whose retries count.
        address: of the container, with the signature.
    """

    def __init__(self, session: AzureSession, address: str) -> None:
        super().__init__(session)
        self._address = address

    @property
    def uri(self) -> str:
        """Address of the container."""
        return self._address.partition("?")[0].rstrip("/")

    def _open(self) -> ContainerClient:
        from azure.storage.blob import ContainerClient

        return ContainerClient.from_container_url(self._address, **_OPTIONS)


def _size(content: bytes | Path) -> int:
    return content.stat().st_size if isinstance(content, Path) else len(content)


def _seconds(date: str) -> float:
    return parsedate_to_datetime(date).timestamp() if date else time.time()
