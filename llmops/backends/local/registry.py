"""Registered versions on this machine: immutable packages under `.llmops/registry/`.

packages/<digest of the manifest>/    the package, read-only
models/<name>/<version>/model.json    what the registry knows of a version
models/<name>/<version>/evidence/     documents, named by their digests
models/<name>/lock                    held while a version or its evidence is written
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from llmops.backends.packages import MANIFEST, copy_package, digest_of, verify_package
from llmops.config.model import NAME
from llmops.engine.locks import exclusive
from llmops.errors import UsageError
from llmops.records import read_record, write_record
from llmops.releases import EvidenceRef, ModelRecord

_RECORD = "model.json"


@dataclass(frozen=True)
class LocalRegistry:
    """`Registry` in a folder.

    Args:
        folder: `.llmops/registry`; made when the first version is registered.
    """

    folder: Path

    def register(self, package: Path, *, name: str, digest: str, created_by: str) -> ModelRecord:
        """See `Registry.register`.

        Raises:
            UsageError: the package's bytes are not what its manifest says, or not this model's.
        """
        with self._lock(name) as home:
            known = self.find_digest(name, digest)
            if known is not None:
                return known
            manifest = self._keep_package(package, name=name, digest=digest)
            record = ModelRecord(
                name=name,
                version=str(max([0, *self._numbers(name)]) + 1),
                digest=digest,
                manifest=manifest,
                created_at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
                created_by=created_by,
            )
            write_record(home / record.version / _RECORD, record)
            return record

    def find(self, name: str, version: str) -> ModelRecord | None:
        """See `Registry.find`."""
        if not (re.fullmatch(NAME, name) and version.isdecimal()):
            return None
        path = self._home(name) / version / _RECORD
        return read_record(path, ModelRecord) if path.exists() else None

    def find_digest(self, name: str, digest: str) -> ModelRecord | None:
        """See `Registry.find_digest`."""
        return next((one for one in self._versions(name) if one.digest == digest), None)

    def list_models(self) -> Sequence[ModelRecord]:
        """See `Registry.list_models`."""
        names = sorted(path.name for path in (self.folder / "models").glob("*"))
        return [one for name in names for one in self._versions(name)]

    def fetch(self, model: ModelRecord) -> Path:
        """See `Registry.fetch`.

        Raises:
            UsageError: the package is gone.
        """
        package = self._package(model.manifest)
        if not package.is_dir():
            raise UsageError.of(
                "the package is gone",
                where=f"{model.name} version {model.version}",
                found=f"no folder {package}",
                fix="Restore the registry's folder, or register the flow again.",
            )
        return package

    def add_evidence(self, model: ModelRecord, evidence: EvidenceRef, content: bytes) -> ModelRecord:
        """See `Registry.add_evidence`.

        Raises:
            UsageError: there is no such version, or the document's bytes are not what the reference says.
        """
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != evidence.digest:
            raise UsageError.of("the document is not what its digest says", where=f"{evidence.kind} {evidence.id}")
        with self._lock(model.name) as home:
            present = self.find(model.name, model.version)
            if present is None:
                raise UsageError.of("no such version", where=f"{model.name} version {model.version}")
            if evidence in present.evidence:
                return present
            path = self._document(home, model, evidence)
            path.parent.mkdir(exist_ok=True)
            _write_bytes(path, content)
            grown = replace(present, evidence=(*present.evidence, evidence))
            write_record(home / model.version / _RECORD, grown)
            return grown

    def read_evidence(self, model: ModelRecord, evidence: EvidenceRef) -> bytes:
        """See `Registry.read_evidence`."""
        path = self._document(self._home(model.name), model, evidence)
        try:
            return path.read_bytes()
        except OSError as error:
            where = f"{model.name} version {model.version}, {evidence.kind} {evidence.id}"
            raise UsageError.of("the document is gone", where=where, found=str(error)) from error

    def _versions(self, name: str) -> Iterator[ModelRecord]:
        """Yield the versions of a name, newest first."""
        for number in sorted(self._numbers(name), reverse=True):
            record = self.find(name, str(number))
            if record is not None:
                yield record

    def _numbers(self, name: str) -> Sequence[int]:
        if not re.fullmatch(NAME, name):
            return []
        return [int(path.name) for path in self._home(name).glob("*") if path.name.isdecimal()]

    def _home(self, name: str) -> Path:
        return self.folder / "models" / name

    def _package(self, manifest: str) -> Path:
        return self.folder / "packages" / manifest.removeprefix("sha256:")

    def _document(self, home: Path, model: ModelRecord, evidence: EvidenceRef) -> Path:
        return home / model.version / "evidence" / f"{evidence.kind}-{evidence.digest.removeprefix('sha256:')}"

    def _keep_package(self, package: Path, *, name: str, digest: str) -> str:
        """Copy a package to its place; a reader finds all of it there or nothing. Returns its manifest's digest."""
        manifest = verify_package(package, digest=digest)
        if manifest.model != name:
            raise UsageError.of("the package is of another model", where=str(package), found=f"'{manifest.model}'")
        address = digest_of(package / MANIFEST)
        place = self._package(address)
        if place.exists():
            verify_package(place, digest=digest, manifest=address)
            return address
        place.parent.mkdir(parents=True, exist_ok=True)
        copy = Path(tempfile.mkdtemp(dir=place.parent, prefix=".new-"))
        try:
            copy_package(package, copy / "package", manifest)
            verify_package(copy / "package", digest=digest, manifest=address)
            _make_durable(copy / "package")
            os.replace(copy / "package", place)
        finally:
            shutil.rmtree(copy, ignore_errors=True)
        return address

    @contextlib.contextmanager
    def _lock(self, name: str) -> Iterator[Path]:
        """Hold the one lock of a name, which ends with the process too; yields the name's folder."""
        if not re.fullmatch(NAME, name):
            raise UsageError.of("not a name for a model", found=f"'{name}'", expected="letters, digits, '.', '_', '-'")
        home = self._home(name)
        home.mkdir(parents=True, exist_ok=True)
        with exclusive(home / "lock"):
            yield home


def _make_durable(folder: Path) -> None:
    """Write every file through to the disk and take away the right to change it."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
            path.chmod(0o444)


def _write_bytes(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(content)
        os.fsync(handle.fileno())
    os.replace(name, path)
