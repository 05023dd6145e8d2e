"""Packages: exactly the files of a flow, what proves them, and nothing else; made here, and verified from their bytes.

manifest.json           what is in here; its SHA-256 is the package's address in the registry
flow/…                  the flow's closure, laid out as in the repository
requirements.lock       what the flow requires, pinned
verdict.json            the verdict that speaks for it, byte for byte as the gate wrote it
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from llmops.backends.local.workers import find_requirements
from llmops.backends.protocols import FlowSource, Registry
from llmops.core import gate
from llmops.core.documents import from_json
from llmops.delivery.requirements_lock import Interpreter, read_interpreter
from llmops.delivery.secret_files import find_secrets
from llmops.errors import Problem, UsageError
from llmops.flows.baseline import materialise
from llmops.flows.closure import IMPORTED
from llmops.flows.digest import digest_files, digest_with_overlay
from llmops.flows.tree import in_project
from llmops.records import FlowRef, VerdictRecord, read_record, write_record, write_text
from llmops.releases import EvidenceRef, Manifest, ModelRecord, PackagedFile

MANIFEST = "manifest.json"
VERDICT = "verdict.json"
LOCK = "requirements.lock"
_FLOW = "flow"
_FIX = "Do not use it. Register the version again from its commit, or restore the registry from a copy."


class Proof(NamedTuple):
    """A verdict and the very bytes of its file."""

    verdict: VerdictRecord
    content: bytes


class Package(NamedTuple):
    """A verified package.

    Attributes:
        proof: the verdict in it; None when it was registered without one.
        later: verdicts that were attached to the version since.
    """

    folder: Path
    manifest: Manifest
    proof: Proof | None
    later: tuple[Proof, ...] = ()

    @property
    def verdicts(self) -> list[VerdictRecord]:
        """Every verdict that speaks for the version, oldest first."""
        return [proof.verdict for proof in (self.proof, *self.later) if proof]


def content_digest(ref: FlowRef) -> str:
    """Name the content of a flow with all that overlays it: what a registry counts as one version."""
    return digest_with_overlay(ref.digest, ref.overlay)


def sha256_of(content: bytes) -> str:
    """Digest bytes.

    Returns:
        `sha256:` and 64 hexadecimal digits.
    """
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def build_package(
    source: FlowSource,
    *,
    model: str,
    proof: Proof | None,
    without_verdict: str,
    into: Path,
    find_python: Callable[[Path], str] = lambda _: sys.executable,
) -> Manifest:
    """Write a package.

    Args:
        source: the flow; its files are read once, and must still be what its digest says.
        model: name of the model.
        proof: the verdict that speaks for it.
        without_verdict: why there is none.
        into: an empty folder.
        find_python: from the project folder in the package to the interpreter that runs the flow; what is installed
            there is what its requirements are pinned to.

    Raises:
        UsageError: a file of the flow is a secret, cannot be read, or changed meanwhile.
    """
    secrets = find_secrets(source.tree, source.closure)
    if secrets:
        raise UsageError(*secrets)
    root = materialise(source.tree, source.closure, into / _FLOW)
    interpreter = read_interpreter(find_python(root))
    lock = _write_lock(find_requirements(root, source.flow), interpreter, into)
    if proof:
        (into / VERDICT).write_bytes(proof.content)
    run = proof.verdict.candidate.run if proof else None
    flow = source.flow
    manifest = Manifest(
        model=model,
        digest=content_digest(source.ref),
        flow=source.ref,
        project=posixpath.join(_FLOW, source.tree.prefix).rstrip("/"),
        definition=flow.definition,
        flow_kind=flow.kind,
        entry=flow.entry,
        import_roots=source.closure.import_roots,
        inputs={name: entry.required for name, entry in flow.inputs.items()},
        outputs=flow.outputs,
        files=_list_files(source, into),
        requirements=lock,
        run=run.id if run else "",
        dataset=run.dataset.digest if run else "",
        evaluators=proof.verdict.candidate.evaluators if proof else {},
        verdict=proof.verdict.id if proof else "",
        without_verdict=without_verdict,
        versions={**(run.versions if run else {}), **interpreter.versions()},
    )
    write_record(into / MANIFEST, manifest)
    if _flow_digest(manifest) != source.ref.digest:
        raise UsageError.of(
            "the flow changed while it was packaged", where=flow.path, fix="Run the same command again."
        )
    return manifest


def load_package(registry: Registry, model: ModelRecord) -> Package:
    """Fetch a registered version with all that speaks for it, and verify every byte.

    Raises:
        UsageError: something is not what it was when it was registered; every problem.
    """
    package = verify_package(registry.fetch(model), model)
    later = []
    problems: list[Problem] = []
    for evidence in model.evidence:
        content = registry.read_evidence(model, evidence)
        try:
            later.append(_read_evidence(content, evidence, model))
        except UsageError as error:
            problems.extend(error.problems)
    if problems:
        raise UsageError(*problems)
    return package._replace(later=tuple(later))


def verify_package(folder: Path, model: ModelRecord | None = None) -> Package:
    """Recompute every digest of a package from its bytes; needs nothing but the folder.

    Args:
        folder: with `manifest.json` at its top.
        model: what the registry says of it; None verifies that the package is in agreement with itself.

    Raises:
        UsageError: every difference that was found.
    """
    where = str(folder / MANIFEST)
    manifest = read_record(folder / MANIFEST, Manifest)
    problems: list[Problem] = []
    if model:
        problems += _compare(where, "the manifest", sha256_of((folder / MANIFEST).read_bytes()), model.manifest)
        problems += _compare(where, "the manifest's content digest", manifest.digest, model.digest)
        problems += _compare(where, "the manifest's model", manifest.model, model.name)
    problems += _compare_files(folder, manifest)
    problems += _compare(where, "the flow's digest", _flow_digest(manifest), manifest.flow.digest)
    problems += _compare(where, "the content digest", content_digest(manifest.flow), manifest.digest)
    if problems:
        raise UsageError(*problems)
    proof = None
    if manifest.verdict:
        proof = read_proof(folder / VERDICT)
        require_same_content(proof.verdict, manifest.flow, where=str(folder / VERDICT))
    return Package(folder, manifest, proof)


def read_proof(path: Path) -> Proof:
    """Read a verdict with its bytes, and see that its outcome follows from its findings.

    Raises:
        UsageError: it is none, or it contradicts itself.
    """
    verdict = read_record(path, VerdictRecord)
    _require_consistent(verdict, str(path))
    return Proof(verdict, path.read_bytes())


def evidence_of(proof: Proof) -> EvidenceRef:
    """Name a verdict as evidence."""
    return EvidenceRef(kind="verdict", id=proof.verdict.id, digest=sha256_of(proof.content))


def require_same_content(verdict: VerdictRecord, flow: FlowRef, *, where: str) -> None:
    """Refuse a verdict over anything but this very content.

    Raises:
        UsageError: it judged another flow, or other variants of it.
    """
    judged = content_digest(verdict.candidate.run.flow)
    if judged != content_digest(flow):
        raise UsageError.of(
            "the verdict is about other content", where=where, found=judged, expected=content_digest(flow), fix=_FIX
        )


def _require_consistent(verdict: VerdictRecord, where: str) -> None:
    stated = (verdict.outcome, verdict.exit_code)
    follows = (gate.outcome(verdict.findings), int(gate.exit_code(verdict.findings)))
    if stated != follows or not verdict.findings:
        raise UsageError.of(
            "a verdict that contradicts its own findings",
            where=where,
            found=f"outcome '{stated[0]}', exit code {stated[1]}",
            expected=f"outcome '{follows[0]}', exit code {follows[1]}",
            fix=_FIX,
        )


def _read_evidence(content: bytes, evidence: EvidenceRef, model: ModelRecord) -> Proof:
    where = f"evidence {evidence.id} of {model.name} {model.version}"
    if problems := _compare(where, "the document", sha256_of(content), evidence.digest):
        raise UsageError(*problems)
    verdict: VerdictRecord = from_json(VerdictRecord, json.loads(content))
    _require_consistent(verdict, where)
    judged = content_digest(verdict.candidate.run.flow)
    if judged != model.digest:
        raise UsageError.of("the verdict is about other content", where=where, found=judged, expected=model.digest)
    return Proof(verdict, content)


def _write_lock(requirements: Path | None, interpreter: Interpreter, into: Path) -> str:
    """Pin the flow's requirements; without any there is nothing to pin."""
    if requirements is None:
        return ""
    write_text(into / LOCK, interpreter.lock(requirements.read_text(encoding="utf-8-sig", errors="replace")))
    return LOCK


def _list_files(source: FlowSource, into: Path) -> dict[str, PackagedFile]:
    place = in_project(source.tree, source.closure.flow.path)
    names = {}
    for name, entry in source.closure.files.items():
        inside = entry.place if name.startswith(IMPORTED) else posixpath.join(place, name)
        names[posixpath.join(_FLOW, inside)] = name
    return {
        path: PackagedFile(sha256=hashlib.sha256((into / path).read_bytes()).hexdigest(), name=names.get(path))
        for path in _walk(into)
    }


def _walk(folder: Path) -> Iterator[str]:
    """Yield every file below a folder but the manifest, by its path with forward slashes, sorted."""
    paths = (
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()
    )
    yield from sorted(path for path in paths if path != MANIFEST)


def _flow_digest(manifest: Manifest) -> str:
    files: Mapping[str, str] = {file.name: file.sha256 for file in manifest.files.values() if file.name is not None}
    try:
        return digest_files(files)
    except ValueError:
        return "no digest: a file's SHA-256 is not hexadecimal"


def _compare_files(folder: Path, manifest: Manifest) -> list[Problem]:
    found = set(_walk(folder))
    problems: list[Problem] = []
    for path in sorted(found | set(manifest.files)):
        where = str(folder / path)
        if path not in manifest.files:
            problems.append(Problem(what="a file that does not belong to the package", where=where, fix=_FIX))
        elif path not in found:
            problems.append(Problem(what="a file of the package is missing", where=where, fix=_FIX))
        elif (folder / path).is_symlink():
            problems.append(Problem(what="a link in a package", where=where, fix=_FIX))
        else:
            content = hashlib.sha256((folder / path).read_bytes()).hexdigest()
            problems += _compare(where, "the file", content, manifest.files[path].sha256)
    return problems


def _compare(where: str, what: str, found: str, expected: str) -> list[Problem]:
    if found == expected:
        return []
    return [Problem(what=f"{what} was changed", where=where, found=found, expected=expected, fix=_FIX)]
