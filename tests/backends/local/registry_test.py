from __future__ import annotations

import hashlib
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from llmops.backends.local.registry import LocalRegistry
from llmops.backends.packages import verify_package
from llmops.errors import UsageError
from llmops.releases import EvidenceRef, Manifest, ModelRecord
from tests.backends.packages import echo_flow, package


def make(tmp_path: Path, version: str = "one ") -> tuple[Path, Manifest]:
    into = tmp_path / "packages" / version.strip()
    return into, package(echo_flow(tmp_path / version.strip(), version), into)


def register(state: Path, folder: Path, digest: str) -> ModelRecord:
    return LocalRegistry(state).register(folder, name="echo", digest=digest, created_by="a test")


def test_versions_are_counted_and_the_same_content_is_one_version(tmp_path: Path) -> None:
    one, two = make(tmp_path, "one "), make(tmp_path, "two ")
    records = [register(tmp_path / "r", folder, manifest.digest) for folder, manifest in (one, two, one)]
    assert [record.version for record in records] == ["1", "2", "1"]
    registry = LocalRegistry(tmp_path / "r")
    assert [record.version for record in registry.list_models()] == ["2", "1"]
    assert registry.find("echo", "2") == registry.find_digest("echo", two[1].digest) == records[1]


def test_racing_registrations_of_one_content_make_one_version(tmp_path: Path) -> None:
    folder, manifest = make(tmp_path)
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(register, tmp_path / "r", folder, manifest.digest) for _ in range(8)]
        records = {job.result().version for job in jobs}
    assert records == {"1"}
    assert len(LocalRegistry(tmp_path / "r").list_models()) == 1
    assert len(list((tmp_path / "r" / "packages").iterdir())) == 1


def test_what_is_kept_is_a_whole_copy_that_nobody_may_write(tmp_path: Path) -> None:
    folder, manifest = make(tmp_path)
    record = register(tmp_path / "r", folder, manifest.digest)
    shutil.rmtree(folder)
    kept = LocalRegistry(tmp_path / "r").fetch(record)
    assert verify_package(kept, digest=record.digest, manifest=record.manifest) == manifest
    assert {path.stat().st_mode & 0o222 for path in kept.rglob("*") if path.is_file()} == {0}


def test_a_package_whose_bytes_are_not_its_manifests_is_refused(tmp_path: Path) -> None:
    folder, manifest = make(tmp_path)
    node = folder / "flow/flows/echo/answer.py"
    node.write_bytes(node.read_bytes() + b"#")
    with pytest.raises(UsageError, match=r"flow/flows/echo/answer\.py: the file was changed"):
        register(tmp_path / "r", folder, manifest.digest)
    assert LocalRegistry(tmp_path / "r").list_models() == []


def test_a_file_that_the_manifest_does_not_list_is_refused(tmp_path: Path) -> None:
    folder, manifest = make(tmp_path)
    (folder / "flow/flows/echo/json.py").write_text("")
    with pytest.raises(UsageError, match="the manifest does not list this file"):
        register(tmp_path / "r", folder, manifest.digest)


def test_every_changed_byte_of_a_kept_package_is_found(tmp_path: Path) -> None:
    folder, manifest = make(tmp_path)
    record = register(tmp_path / "r", folder, manifest.digest)
    kept = LocalRegistry(tmp_path / "r").fetch(record)
    for path in [path for path in kept.rglob("*") if path.is_file()]:
        content = path.read_bytes()
        path.chmod(0o644)
        for place in range(0, len(content), max(1, len(content) // 20)):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            with pytest.raises(UsageError):
                verify_package(kept, digest=record.digest, manifest=record.manifest)
        path.write_bytes(content)
    verify_package(kept, digest=record.digest, manifest=record.manifest)


def test_evidence_is_added_once_and_read_back(tmp_path: Path) -> None:
    folder, manifest = make(tmp_path)
    record = register(tmp_path / "r", folder, manifest.digest)
    registry = LocalRegistry(tmp_path / "r")
    content = b'{"kind": "verdict"}'
    evidence = EvidenceRef(kind="verdict", id="v1", digest=f"sha256:{hashlib.sha256(content).hexdigest()}")
    grown = [registry.add_evidence(record, evidence, content) for _ in range(2)]
    assert [one.evidence for one in grown] == [(evidence,), (evidence,)]
    assert registry.read_evidence(record, evidence) == content
    assert registry.find("echo", "1") == grown[0]


def test_evidence_that_is_gone_or_not_what_it_says_is_refused(tmp_path: Path) -> None:
    folder, manifest = make(tmp_path)
    record = register(tmp_path / "r", folder, manifest.digest)
    evidence = EvidenceRef(kind="verdict", id="v1", digest=f"sha256:{'0' * 64}")
    with pytest.raises(UsageError, match="the document is not what its digest says"):
        LocalRegistry(tmp_path / "r").add_evidence(record, evidence, b"x")
    with pytest.raises(UsageError, match="the document is gone"):
        LocalRegistry(tmp_path / "r").read_evidence(record, evidence)


def test_a_name_that_leaves_the_registry_is_refused(tmp_path: Path) -> None:
    folder, manifest = make(tmp_path)
    registry = LocalRegistry(tmp_path / "r")
    with pytest.raises(UsageError, match="not a name for a model"):
        registry.register(folder, name="../x", digest=manifest.digest, created_by="a test")
    assert registry.find("../x", "1") is None
