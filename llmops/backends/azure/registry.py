"""Registered versions as models of Azure Machine Learning, kept by a workspace or by a registry that workspaces share.

The number of a version is decided by Azure: whoever is refused one looks who has it, and takes the next if that is
other content.
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

from llmops.backends.azure.arm import Document, state_of
from llmops.backends.azure.place import Place, Staged
from llmops.backends.azure.staging import PACKAGE, folder_name, stage
from llmops.backends.packages import MANIFEST, digest_of, verify_package
from llmops.config.model import NAME
from llmops.errors import BackendError, UsageError
from llmops.releases import EvidenceRef, Manifest, ModelRecord

DIGEST, MANIFEST_DIGEST = "llmops.digest", "llmops.manifest"
_CREATED_BY = "llmops.created-by"
_ATTEMPTS = 50
_TAG = 256


@dataclass(frozen=True)
class AzureRegistry:
    """`Registry` in the models of a workspace, or of a registry of Azure's.

    Args:
        place: keeps the models.
        cache: folder of the project's `.llmops/` that keeps packages that were fetched.
    """

    place: Place
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
            staged = Staged(Path(temporary) / folder_name(address), address)
            stage(package, manifest, staged.folder)
            return self._register(manifest, staged, created_by)

    def _register(self, manifest: Manifest, staged: Staged, created_by: str) -> ModelRecord:
        """Give the content the next version, unless another driver was quicker."""
        name, taken = manifest.model, 0
        for _ in range(_ATTEMPTS):
            versions = self.place.versions(name)
            number = max([taken, *(int(one["name"]) for one in versions if one["name"].isdecimal())]) + 1
            while (there := self.place.get(name, str(number))) is not None:
                versions.append(there)  # the list may lag behind
                number += 1
            if (found := _with_digest(versions, manifest.digest)) is not None:
                return self._record(name, found)
            is_made = self.place.create(
                name, str(number), staged, lambda uri: _describe(uri, manifest, staged.address, created_by)
            )
            made = self.place.get(name, str(number))
            if made is not None and _with_digest([made], manifest.digest):
                return self._record(name, made)
            if not is_made:
                taken = number  # or deleted: Azure gives its number to nobody and does not list it
        raise BackendError.of("other drivers register versions of this model all the time", where=name)

    def find(self, name: str, version: str) -> ModelRecord | None:
        """See `Registry.find`."""
        if not (re.fullmatch(NAME, name) and version.isdecimal()):
            return None
        found = self.place.get(name, version)
        return self._record(name, found) if found is not None and _is_ours(found) else None

    def find_digest(self, name: str, digest: str) -> ModelRecord | None:
        """See `Registry.find_digest`."""
        found = _with_digest(self.place.versions(name), digest) if re.fullmatch(NAME, name) else None
        return self._record(name, found) if found is not None else None

    def list_models(self) -> Sequence[ModelRecord]:
        """See `Registry.list_models`; models that llmops did not register are left out."""
        evidence = self.place.all_evidence()
        return [
            _to_record(name, one, evidence.get((name, one["name"]), ()))
            for name in sorted(self.place.names())
            for one in sorted(filter(_is_ours, self.place.versions(name)), key=_number, reverse=True)
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
        found = self.place.get(model.name, model.version)
        self.cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=self.cache) as temporary:
            what, into = f"fetch {model.name} version {model.version}", Path(temporary) / PACKAGE
            if found is None or not self.place.download(found, PACKAGE, into, what):
                raise UsageError.of(
                    "the package is gone",
                    where=f"{model.name} version {model.version}",
                    found=f"no files at {found['properties'].get('modelUri')}" if found else "no such model",
                    fix="Register the flow again, or restore the storage.",
                )
            if not kept.exists():
                into.rename(kept)
        return kept

    def add_evidence(self, model: ModelRecord, evidence: EvidenceRef, content: bytes) -> ModelRecord:
        """See `Registry.add_evidence`.

        Raises:
            UsageError: there is no such version.
        """
        found = self.place.get(model.name, model.version)
        if found is None:
            raise UsageError.of("no such version", where=f"{model.name} version {model.version}")
        what = f"attach {evidence.kind} {evidence.id} to {model.name} version {model.version}"
        self.place.add_evidence(model, evidence, content, what)
        return self._record(model.name, found)

    def read_evidence(self, model: ModelRecord, evidence: EvidenceRef) -> bytes:
        """See `Registry.read_evidence`."""
        content = self.place.read_evidence(model, evidence, f"read {evidence.kind} {evidence.id}")
        if content is None:
            where = f"{model.name} version {model.version}, {evidence.kind} {evidence.id}"
            raise UsageError.of("the document is gone", where=where)
        return content

    def _record(self, name: str, found: Document) -> ModelRecord:
        return _to_record(name, found, self.place.evidence(name, found["name"]))


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


def _is_ours(version: Document) -> bool:
    kept = version["properties"].get("properties") or {}
    is_described = bool(kept.get(DIGEST) and kept.get(MANIFEST_DIGEST))
    return version["name"].isdecimal() and is_described and state_of(version) not in ("Failed", "Canceled")


def _with_digest(versions: Sequence[Document], digest: str) -> Document | None:
    """Find the oldest version with a digest."""
    found: Iterator[Document] = (one for one in sorted(filter(_is_ours, versions), key=_number))
    return next((one for one in found if one["properties"]["properties"][DIGEST] == digest), None)


def _number(version: Document) -> int:
    return int(version["name"])


def _require_name(name: str) -> None:
    if not re.fullmatch(NAME, name):
        raise UsageError.of("not a name for a model", found=f"'{name}'", expected="letters, digits, '.', '_', '-'")
