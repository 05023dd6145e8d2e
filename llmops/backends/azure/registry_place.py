"""Models of a registry, which workspaces share; the requests are those of `azure-ai-ml`, see `arm.py` for why.

A registry has no datastore: files go to a container that Azure names for one version of one asset, and are read by a
signature for that. So what speaks for a version and came later is kept as data of the registry. Two drivers with the
same content ask for the same container (`temporaryDataReferenceId`); if Azure gives each its own, the one that
registers later is refused, and finds the other's version.

Source: `azure.ai.ml._restclient.v2021_10_01_dataplanepreview`, 1.32.0.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from llmops.backends.azure.arm import BUSY_STATES, Arm, Document, Reply, state_of
from llmops.backends.azure.blobs import SignedContainer
from llmops.backends.azure.discovery import RegistryHome, discover
from llmops.backends.azure.place import TAKEN, Describe, Staged
from llmops.backends.azure.refusals import BusyError, NotThereError, RefusedError
from llmops.errors import BackendError, DeadlineError
from llmops.releases import EvidenceRef, ModelRecord

VERSION = "2021-10-01-dataplanepreview"
_EVIDENCE, _DOCUMENT = "llmops-evidence-", "document"
_KIND, _ID, _DIGEST = "llmops.evidence-kind", "llmops.evidence-id", "llmops.evidence-digest"
_DIGITS = 20
"""Of a digest, in the version of a document: versions may have 30 characters."""
_SEEN_S = 60.0


@dataclass(frozen=True)
class RegistryPlace:
    """`Place` of a registry.

    Args:
        arm: of a workspace; its session reaches the registry too.
        deadline_s: seconds until a registration that goes on is given up.
    """

    arm: Arm
    deadline_s: float = 600.0

    @cached_property
    def home(self) -> RegistryHome:
        """Where the registry is; asked once.

        Raises:
            BackendError: there is no such registry.
        """
        return discover(self.arm)

    def model_id(self, name: str, version: str) -> str:
        """See `Place.model_id`."""
        return self._asset_id("models", name, version)

    def names(self) -> Sequence[str]:
        """See `Place.names`."""
        return self._names("models")

    def versions(self, name: str) -> list[Document]:
        """See `Place.versions`."""
        return self._versions("models", name)

    def get(self, name: str, version: str) -> Document | None:
        """See `Place.get`."""
        return self._get("models", name, version)

    def create(self, name: str, version: str, staged: Staged, describe: Describe) -> bool:
        """See `Place.create`."""
        container = self._open_upload("models", name, version, staged.address)
        if container is None:
            return False
        with closing(container):
            container.put_missing(staged.folder.name, staged.files(), f"upload {staged.folder.name}")
            return self._put("models", name, version, describe(f"{container.uri}/{staged.folder.name}"))

    def download(self, found: Document, part: str, folder: Path, what: str) -> int:
        """See `Place.download`."""
        container, path = self._open_download(found, "modelUri", what)
        if container is None:
            return 0
        with closing(container):
            return container.download(f"{path}/{part}", folder, what)

    def evidence(self, name: str, version: str) -> Sequence[EvidenceRef]:
        """See `Place.evidence`."""
        found = [one for one in self._versions("data", f"{_EVIDENCE}{name}-{version}") if _is_evidence(one)]
        return [_evidence_of(one) for one in sorted(found, key=_age)]

    def all_evidence(self) -> Mapping[tuple[str, str], Sequence[EvidenceRef]]:
        """See `Place.all_evidence`."""
        names = [
            one.removeprefix(_EVIDENCE).rpartition("-") for one in self._names("data") if one.startswith(_EVIDENCE)
        ]
        return {(name, version): self.evidence(name, version) for name, _, version in names}

    def add_evidence(self, model: ModelRecord, evidence: EvidenceRef, content: bytes, what: str) -> None:
        """See `Place.add_evidence`.

        Raises:
            BackendError: the document was deleted from the registry; it can never come back.
        """
        name, version = _document(model, evidence)
        container = self._open_upload("data", name, version, evidence.digest)
        if container is not None:
            with closing(container):
                container.put(_DOCUMENT, content, what)
                self._put("data", name, version, _describe_document(f"{container.uri}/{_DOCUMENT}", evidence))
        if self._get("data", name, version) is None:
            raise BackendError.of(
                "the registry does not take the document back",
                where=f"data '{name}' version '{version}'",
                found="it was deleted there",
                fix="Register other content, whose version has documents of its own.",
            )

    def read_evidence(self, model: ModelRecord, evidence: EvidenceRef, what: str) -> bytes | None:
        """See `Place.read_evidence`."""
        found = self._get("data", *_document(model, evidence))
        container, path = self._open_download(found, "dataUri", what) if found else (None, "")
        if container is None:
            return None
        with closing(container):
            return container.read(path, what).content

    def _names(self, kind: str) -> list[str]:
        listed = self.arm.list(f"{self.home.url}/{kind}", version=VERSION, what=f"list the {kind} of {self._title}")
        return [str(one["name"]) for one in listed]

    def _versions(self, kind: str, name: str) -> list[Document]:
        what = f"list the versions of {name} in {self._title}"
        return list(self.arm.list(f"{self.home.url}/{kind}/{name}/versions", version=VERSION, what=what))

    def _get(self, kind: str, name: str, version: str) -> Document | None:
        what = f"read {name} version {version} of {self._title}"
        return self.arm.get(self._path(kind, name, version), version=VERSION, what=what)

    def _open_upload(self, kind: str, name: str, version: str, digest: str) -> SignedContainer | None:
        """Ask where to put the files of a version; None when there is one already."""
        body = {
            "assetId": self._asset_id(kind, name, version),
            "temporaryDataReferenceId": str(uuid.UUID(digest.removeprefix("sha256:")[:32])),
            "temporaryDataReferenceType": "TemporaryBlobReference",
        }
        what = f"get a place for {name} version {version} in {self._title}"
        try:
            reply = self._write(self._path("tempdatarefs", name, version), body, what)
        except (BusyError, RefusedError) as error:
            self._require_taken(error, kind, name, version)
            return None
        return self._signed(reply, what)

    def _open_download(self, found: Document, uri: str, what: str) -> tuple[SignedContainer | None, str]:
        """Get a signature for the files of an asset, and their path; None when they are gone."""
        kind, name, version = str(found["id"]).split("/")[-4], str(found["id"]).split("/")[-3], found["name"]
        address = str(found["properties"].get(uri) or "")
        body = {"assetId": self._asset_id(kind, name, version), "blobUri": address}
        path = self._path("datarefs", name, version)
        try:
            container = self._signed(self.arm.send("POST", path, version=VERSION, what=what, body=body), what)
        except NotThereError:
            return None, ""
        return container, address.partition(f"/{container.uri.rpartition('/')[2]}/")[2]

    def _signed(self, reply: Reply, what: str) -> SignedContainer:
        reference = reply.body.get("blobReferenceForConsumption") or {}
        address = str((reference.get("credential") or {}).get("sasUri") or "")
        if not address:
            raise BackendError.of(f"Azure gave no signature to {what}", found=", ".join(reference) or "nothing")
        return SignedContainer(self.arm.session, address)

    def _put(self, kind: str, name: str, version: str, body: Document) -> bool:
        """Register an asset and wait until one can see it; False when somebody else was given its version."""
        path, what = self._path(kind, name, version), f"register {name} version {version} in {self._title}"
        try:
            self._finish(path, self._write(path, body, what), what)
        except (BusyError, RefusedError) as error:
            self._require_taken(error, kind, name, version)
            return False
        return True

    def _write(self, path: str, body: Document, what: str) -> Reply:
        """Send a PUT; a conflict is no reason to wait, for assets never change."""
        return self.arm.send("PUT", path, version=VERSION, what=what, body=body, waits=False)

    def _finish(self, path: str, reply: Reply, what: str) -> None:
        deadline = time.monotonic() + self.deadline_s
        while not self._is_there(path, what):
            if operation := reply.location or reply.operation:
                self._require_no_failure(operation, what)
            if time.monotonic() >= deadline:
                raise DeadlineError.of(f"Azure did not {what} in {self.deadline_s:g} s")
            self.arm.session.sleep(reply.poll_s)

    def _require_taken(self, error: BusyError | RefusedError, kind: str, name: str, version: str) -> None:
        """Raise an error that is none about a version that somebody else has; else wait until one can see whose it is.

        Whoever has it may still be at work; a version that was deleted never shows.
        """
        if not (isinstance(error, BusyError) or TAKEN.search(str(error))):
            raise error
        path, until = self._path(kind, name, version), time.monotonic() + _SEEN_S
        is_gone = "deleted" in str(error)
        while not (is_gone or self._is_there(path, f"read {name} version {version}") or time.monotonic() >= until):
            self.arm.session.sleep(Reply(status=0, body={}).poll_s)

    def _is_there(self, path: str, what: str) -> bool:
        found = self.arm.get(path, version=VERSION, what=what)
        return found is not None and state_of(found) not in BUSY_STATES

    def _require_no_failure(self, location: str, what: str) -> None:
        """Raise what an operation failed with; one that is forgotten failed with nothing."""
        try:
            body = self.arm.send("GET", location, version="", what=what, waits=False).body
        except NotThereError:
            return
        if body.get("status") in ("Failed", "Canceled"):
            details = body.get("error") or {}
            found = f"{details.get('code', body['status'])}: {details.get('message', 'no reason given')}"
            raise RefusedError.of(f"Azure could not {what}", found=found)

    def _path(self, kind: str, name: str, version: str) -> str:
        return f"{self.home.url}/{kind}/{name}/versions/{version}"

    def _asset_id(self, kind: str, name: str, version: str) -> str:
        return f"azureml://registries/{self.arm.session.settings.registry}/{kind}/{name}/versions/{version}"

    @property
    def _title(self) -> str:
        return f"the registry '{self.arm.session.settings.registry}'"


def _document(model: ModelRecord, evidence: EvidenceRef) -> tuple[str, str]:
    """Name the data asset of a document, and its version."""
    digest = evidence.digest.removeprefix("sha256:")
    return f"{_EVIDENCE}{model.name}-{model.version}", f"{evidence.kind}-{digest[:_DIGITS]}"


def _describe_document(uri: str, evidence: EvidenceRef) -> Document:
    said = {_KIND: evidence.kind, _ID: evidence.id, _DIGEST: evidence.digest}
    properties = {
        "dataType": "uri_file",
        "dataUri": uri,
        "description": f"{evidence.kind} {evidence.id}, kept by llmops.",
        "tags": said,
        "properties": said,
        "isAnonymous": False,
        "isArchived": False,
    }
    return {"properties": properties}


def _is_evidence(found: Document) -> bool:
    kept = found["properties"].get("properties") or {}
    return bool(kept.get(_KIND) and kept.get(_ID) and kept.get(_DIGEST))


def _evidence_of(found: Document) -> EvidenceRef:
    kept = found["properties"]["properties"]
    kind: Any = kept[_KIND]
    return EvidenceRef(kind=kind, id=kept[_ID], digest=kept[_DIGEST])


def _age(found: Document) -> tuple[str, str]:
    return str((found.get("systemData") or {}).get("createdAt", "")), str(found["name"])
