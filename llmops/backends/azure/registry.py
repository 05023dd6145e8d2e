"""Registered versions as models of an Azure Machine Learning workspace.

A model's path never changes and follows from its content, so the service itself decides races: of two drivers that put
different content under one version, one is refused; two that put the same content make one version of it.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops.backends.azure.arm import Arm, Document
from llmops.backends.azure.blobs import Blobs
from llmops.backends.azure.refusals import RefusedError
from llmops.backends.azure.staging import PACKAGE, folder_name, stage
from llmops.backends.packages import MANIFEST, digest_of, verify_package
from llmops.config.model import NAME
from llmops.errors import BackendError, UsageError
from llmops.releases import EvidenceRef, Manifest, ModelRecord

VERSION = "2023-08-01-preview"
DIGEST, MANIFEST_DIGEST = "llmops.digest", "llmops.manifest"
_CREATED_BY = "llmops.created-by"
_EVIDENCE, _MODELS = "llmops/evidence", "llmops/models"
_ATTEMPTS = 50
_TAG = 256
_TAKEN = re.compile(r"paths cannot be updated|cannot be recreated|was deleted at", re.IGNORECASE)
_PATH = re.compile(r"azureml://.*?datastores/(?P<datastore>[^/]+)/paths/(?P<path>.*)", re.IGNORECASE)


@dataclass(frozen=True)
class AzureRegistry:
    """`Registry` in the models of a workspace.

    Args:
        arm: of the workspace.
        blobs: of its default datastore.
        cache: folder of the project's `.llmops/` that keeps packages that were fetched.
    """

    arm: Arm
    blobs: Blobs
    cache: Path

    def register(self, package: Path, *, name: str, digest: str, created_by: str) -> ModelRecord:
        """See `Registry.register`.

        Raises:
            UsageError: the package's bytes are not what its manifest says, or not this model's.
        """
        manifest = verify_package(package, digest=digest)
        if manifest.model != name:
            raise UsageError.of("the package is of another model", where=str(package), found=f"'{manifest.model}'")
        _require_name(name)
        if (known := self.find_digest(name, digest)) is not None:
            return known
        address = digest_of(package / MANIFEST)
        with tempfile.TemporaryDirectory(prefix="llmops-model-") as temporary:
            staged = Path(temporary) / folder_name(address)
            stage(package, manifest, staged)
            uri = self._upload(staged, address)
            body = _describe(uri, manifest, address, created_by)
            gone = 0
            for _ in range(_ATTEMPTS):
                versions = self._versions(name)
                found = _with_digest(versions, digest)
                if found is not None:
                    return self._record(name, found)
                number = max([gone, *(int(one["name"]) for one in versions if one["name"].isdecimal())]) + 1
                while self._get(name, str(number)) is not None:
                    number += 1  # the list may lag behind
                if not self._create(name, str(number), body):
                    gone = number  # taken, or deleted: Azure gives its number to nobody and does not list it
        raise BackendError.of("other drivers register versions of this model all the time", where=name)

    def find(self, name: str, version: str) -> ModelRecord | None:
        """See `Registry.find`."""
        if not (re.fullmatch(NAME, name) and version.isdecimal()):
            return None
        found = self._get(name, version)
        return self._record(name, found) if found is not None and _is_ours(found) else None

    def find_digest(self, name: str, digest: str) -> ModelRecord | None:
        """See `Registry.find_digest`."""
        found = _with_digest(self._versions(name), digest) if re.fullmatch(NAME, name) else None
        return self._record(name, found) if found is not None else None

    def list_models(self) -> Sequence[ModelRecord]:
        """See `Registry.list_models`; models that llmops did not register are left out."""
        names = [one["name"] for one in self.arm.list(self.arm.path("models"), version=VERSION, what="list models")]
        evidence = self._all_evidence()
        return [
            _to_record(name, one, evidence.get((name, one["name"]), ()))
            for name in sorted(names)
            for one in sorted(filter(_is_ours, self._versions(name)), key=_number, reverse=True)
        ]

    def fetch(self, model: ModelRecord) -> Path:
        """See `Registry.fetch`.

        Raises:
            UsageError: the package is gone.
        """
        kept = self.cache / model.manifest.removeprefix("sha256:")
        if kept.is_dir():
            try:
                verify_package(kept, digest=model.digest, manifest=model.manifest)
            except UsageError:
                shutil.rmtree(kept)  # a copy that was damaged on this machine
            else:
                return kept
        found = self._get(model.name, model.version)
        path = blob_path(found) if found else ""
        self.cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=self.cache) as temporary:
            what = f"fetch {model.name} version {model.version}"
            if not path or not self.blobs.download(f"{path}/{PACKAGE}", Path(temporary) / PACKAGE, what):
                raise UsageError.of(
                    "the package is gone",
                    where=f"{model.name} version {model.version}",
                    found=f"no files below {path}" if path else "no such model",
                    fix="Register the flow again, or restore the workspace's storage.",
                )
            if not kept.exists():
                (Path(temporary) / PACKAGE).rename(kept)
        return kept

    def add_evidence(self, model: ModelRecord, evidence: EvidenceRef, content: bytes) -> ModelRecord:
        """See `Registry.add_evidence`.

        Raises:
            UsageError: there is no such version.
        """
        found = self._get(model.name, model.version)
        if found is None:
            raise UsageError.of("no such version", where=f"{model.name} version {model.version}")
        metadata = {"kind": evidence.kind, "id": evidence.id, "digest": evidence.digest}
        what = f"attach {evidence.kind} {evidence.id} to {model.name} version {model.version}"
        self.blobs.write(_document(model, evidence), content, what, metadata=metadata)
        return self._record(model.name, found)

    def read_evidence(self, model: ModelRecord, evidence: EvidenceRef) -> bytes:
        """See `Registry.read_evidence`."""
        what = f"read {evidence.kind} {evidence.id}"
        content = self.blobs.read(_document(model, evidence), what).content
        if content is None:
            where = f"{model.name} version {model.version}, {evidence.kind} {evidence.id}"
            raise UsageError.of("the document is gone", where=where)
        return content

    def _upload(self, staged: Path, address: str) -> str:
        """Upload what is not there yet; the same content has the same place, so that whoever comes later goes on.

        The SDK's own upload looks at one file only and takes the others for granted, and waits for ever when two
        uploads of one folder meet (`_blob_storage_helper.py`, 1.32.0).

        Returns:
            The address of the model's folder.
        """
        place = f"{_MODELS}/{address.removeprefix('sha256:')}/{staged.name}"
        what = f"upload {staged.name}"
        there = {one.name: one.size for one in self.blobs.list(f"{place}/", what)}
        for file in sorted(staged.rglob("*")):
            blob = f"{place}/{file.relative_to(staged).as_posix()}"
            if file.is_file() and there.get(blob) != file.stat().st_size:
                self.blobs.put(blob, file.read_bytes(), what)
        settings = self.arm.session.settings
        workspace = (
            f"subscriptions/{settings.subscription_id}/resourcegroups/{settings.resource_group}"
            f"/workspaces/{settings.workspace}"
        )
        return f"azureml://{workspace}/datastores/{self.blobs.datastore['name']}/paths/{place}"

    def _create(self, name: str, version: str, body: Document) -> bool:
        """Register a model under a version; False when the version went to other content."""
        path = self.arm.path(f"models/{name}/versions/{version}")
        try:
            self.arm.send("PUT", path, version=VERSION, what=f"register {name} version {version}", body=body)
        except RefusedError as error:
            if _TAKEN.search(str(error)):
                return False
            raise
        return True

    def _get(self, name: str, version: str) -> Document | None:
        path = self.arm.path(f"models/{name}/versions/{version}")
        return self.arm.get(path, version=VERSION, what=f"read {name} version {version}")

    def _versions(self, name: str) -> list[Document]:
        """List the versions of a name, in no certain order; an unknown name has none, whichever way Azure says it."""
        path = self.arm.path(f"models/{name}/versions")
        return list(self.arm.list(path, version=VERSION, what=f"list the versions of {name}"))

    def _record(self, name: str, found: Document) -> ModelRecord:
        prefix = f"{_EVIDENCE}/{name}/{found['name']}/"
        listed = self.blobs.list(prefix, f"list the evidence of {name} version {found['name']}")
        return _to_record(name, found, [_evidence_of(one.metadata) for one in listed])

    def _all_evidence(self) -> Mapping[tuple[str, str], Sequence[EvidenceRef]]:
        found: dict[tuple[str, str], list[EvidenceRef]] = {}
        for one in self.blobs.list(f"{_EVIDENCE}/", "list the evidence of all models"):
            name, version = one.name.removeprefix(f"{_EVIDENCE}/").split("/")[:2]
            found.setdefault((name, version), []).append(_evidence_of(one.metadata))
        return found


def blob_path(model: Document) -> str:
    """Find where a model's files are in the default container; empty when that cannot be told."""
    match = _PATH.fullmatch(str((model.get("properties") or {}).get("modelUri") or ""))
    return match["path"].rstrip("/") if match else ""


def _describe(uri: str, manifest: Manifest, address: str, created_by: str) -> Document:
    lineage = {
        DIGEST: manifest.digest,
        MANIFEST_DIGEST: address,
        "llmops.flow": manifest.flow.path,
        "llmops.variants": json.dumps(dict(manifest.flow.variants), sort_keys=True) if manifest.flow.variants else "",
        "llmops.verdict": manifest.verdict,
        "llmops.without-verdict": manifest.without_verdict,
        "llmops.run": manifest.run,
        "llmops.dataset": manifest.dataset,
    }
    given = {name: value[:_TAG] for name, value in lineage.items() if value}
    properties = {
        "modelType": "custom_model",
        "modelUri": uri,
        "description": f"Flow {manifest.flow.path}, registered by llmops.",
        "tags": {**given, _CREATED_BY: created_by[:_TAG]},
        "properties": {**given, "azureml.promptflow.source_flow_id": manifest.model},
        "isAnonymous": False,
        "isArchived": False,
    }
    return {"properties": properties}


def _to_record(name: str, found: Document, evidence: Sequence[EvidenceRef]) -> ModelRecord:
    properties = found["properties"]
    kept: Mapping[str, Any] = properties.get("properties") or {}
    return ModelRecord(
        name=name,
        version=found["name"],
        digest=str(kept[DIGEST]),
        manifest=str(kept[MANIFEST_DIGEST]),
        created_at=str((found.get("systemData") or {}).get("createdAt", "")),
        created_by=str((properties.get("tags") or {}).get(_CREATED_BY, "")),
        evidence=tuple(evidence),
    )


def _evidence_of(metadata: Mapping[str, str]) -> EvidenceRef:
    kind: Any = metadata["kind"]
    return EvidenceRef(kind=kind, id=metadata["id"], digest=metadata["digest"])


def _document(model: ModelRecord, evidence: EvidenceRef) -> str:
    digest = evidence.digest.removeprefix("sha256:")
    return f"{_EVIDENCE}/{model.name}/{model.version}/{evidence.kind}-{digest}"


def _is_ours(version: Document) -> bool:
    kept = version["properties"].get("properties") or {}
    return version["name"].isdecimal() and bool(kept.get(DIGEST) and kept.get(MANIFEST_DIGEST))


def _with_digest(versions: Sequence[Document], digest: str) -> Document | None:
    """Find the oldest version with a digest."""
    found: Iterator[Document] = (one for one in sorted(filter(_is_ours, versions), key=_number))
    return next((one for one in found if one["properties"]["properties"][DIGEST] == digest), None)


def _number(version: Document) -> int:
    return int(version["name"])


def _require_name(name: str) -> None:
    if not re.fullmatch(NAME, name):
        raise UsageError.of("not a name for a model", found=f"'{name}'", expected="letters, digits, '.', '_', '-'")
