"""Models of a workspace, with their files in its default datastore.

A model's path follows from its content alone, so the service itself decides races: of two drivers that put different
content under one version, one is refused; two that put the same content make one version of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops.backends.azure.arm import Arm, Document
from llmops.backends.azure.blobs import Blobs
from llmops.backends.azure.place import TAKEN, Describe, Staged
from llmops.backends.azure.refusals import RefusedError
from llmops.releases import EvidenceRef, ModelRecord

VERSION = "2023-08-01-preview"
_EVIDENCE, _MODELS = "llmops/evidence", "llmops/models"
_PATH = re.compile(r"azureml://.*?datastores/(?P<datastore>[^/]+)/paths/(?P<path>.*)", re.IGNORECASE)


@dataclass(frozen=True)
class WorkspacePlace:
    """`Place` of a workspace.

    Args:
        arm: of the workspace.
        blobs: of its default datastore.
    """

    arm: Arm
    blobs: Blobs

    def model_id(self, name: str, version: str) -> str:
        """See `Place.model_id`."""
        return self.arm.path(f"models/{name}/versions/{version}")

    def names(self) -> Sequence[str]:
        """See `Place.names`."""
        return [one["name"] for one in self.arm.list(self.arm.path("models"), version=VERSION, what="list models")]

    def versions(self, name: str) -> list[Document]:
        """See `Place.versions`."""
        path = self.arm.path(f"models/{name}/versions")
        return list(self.arm.list(path, version=VERSION, what=f"list the versions of {name}"))

    def get(self, name: str, version: str) -> Document | None:
        """See `Place.get`."""
        return self.arm.get(self.model_id(name, version), version=VERSION, what=f"read {name} version {version}")

    def create(self, name: str, version: str, staged: Staged, describe: Describe) -> bool:
        """See `Place.create`.

        The SDK's own upload looks at one file only and takes the others for granted, and waits for ever when two
        uploads of one folder meet (`_blob_storage_helper.py`, 1.32.0).
        """
        folder = f"{_MODELS}/{staged.address.removeprefix('sha256:')}/{staged.folder.name}"
        self.blobs.put_missing(folder, staged.files(), f"upload {staged.folder.name}")
        body, path = describe(self._uri(folder)), self.model_id(name, version)
        try:
            self.arm.send("PUT", path, version=VERSION, what=f"register {name} version {version}", body=body)
        except RefusedError as error:
            if TAKEN.search(str(error)):
                return False
            raise
        return True

    def download(self, found: Document, part: str, folder: Path, what: str) -> int:
        """See `Place.download`."""
        path = blob_path(found)
        return self.blobs.download(f"{path}/{part}", folder, what) if path else 0

    def evidence(self, name: str, version: str) -> Sequence[EvidenceRef]:
        """See `Place.evidence`."""
        listed = self.blobs.list(f"{_EVIDENCE}/{name}/{version}/", f"list the evidence of {name} version {version}")
        return [_evidence_of(one.metadata) for one in listed]

    def all_evidence(self) -> Mapping[tuple[str, str], Sequence[EvidenceRef]]:
        """See `Place.all_evidence`."""
        found: dict[tuple[str, str], list[EvidenceRef]] = {}
        for one in self.blobs.list(f"{_EVIDENCE}/", "list the evidence of all models"):
            name, version = one.name.removeprefix(f"{_EVIDENCE}/").split("/")[:2]
            found.setdefault((name, version), []).append(_evidence_of(one.metadata))
        return found

    def add_evidence(self, model: ModelRecord, evidence: EvidenceRef, content: bytes, what: str) -> None:
        """See `Place.add_evidence`."""
        metadata = {"kind": evidence.kind, "id": evidence.id, "digest": evidence.digest}
        self.blobs.write(_document(model, evidence), content, what, metadata=metadata)

    def read_evidence(self, model: ModelRecord, evidence: EvidenceRef, what: str) -> bytes | None:
        """See `Place.read_evidence`."""
        return self.blobs.read(_document(model, evidence), what).content

    def _uri(self, folder: str) -> str:
        settings = self.arm.session.settings
        workspace = (
            f"subscriptions/{settings.subscription_id}/resourcegroups/{settings.resource_group}"
            f"/workspaces/{settings.workspace}"
        )
        return f"azureml://{workspace}/datastores/{self.blobs.datastore['name']}/paths/{folder}"


def blob_path(model: Document) -> str:
    """Find where a model's files are in the default container; empty when that cannot be told."""
    match = _PATH.fullmatch(str((model.get("properties") or {}).get("modelUri") or ""))
    return match["path"].rstrip("/") if match else ""


def _evidence_of(metadata: Mapping[str, str]) -> EvidenceRef:
    kind: Any = metadata["kind"]
    return EvidenceRef(kind=kind, id=metadata["id"], digest=metadata["digest"])


def _document(model: ModelRecord, evidence: EvidenceRef) -> str:
    digest = evidence.digest.removeprefix("sha256:")
    return f"{_EVIDENCE}/{model.name}/{model.version}/{evidence.kind}-{digest}"
