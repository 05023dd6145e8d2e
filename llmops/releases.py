"""The documents of delivery: what a registered version consists of, what proves it, and how each rollout went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from llmops.flows.model import source_of
from llmops.records import FlowRef, Record

EvidenceKind = Literal["verdict", "approval"]
RolloutAction = Literal["deploy", "promote", "rollback"]
RolloutOutcome = Literal["done", "returned", "stopped"]
"""done: the wanted version has all traffic; returned: a check failed and what served before serves; stopped: the
backend refused, the last split stands and the same command continues."""


@dataclass(frozen=True, kw_only=True)
class PackagedFile:
    """One file of a package.

    Attributes:
        sha256: 64 hexadecimal digits over its bytes.
        name: its name in the flow's closure, which the flow's digest is made of; None for a file that is no part of
            the flow (a second copy of an include, the lock of the requirements, the verdict).
    """

    sha256: str
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class Manifest(Record):
    """What a package holds; `manifest.json` at its top. Its own digest is the package's address.

    Attributes:
        model: name of the model: the experiment's.
        digest: content digest of the flow with all that overlays it (`digest_with_overlay`): what evaluation,
            registry and deployment agree on.
        flow: with its variants, `nodes`, `init`, `python` and names of environment variables; they serve as they are
            here, whatever the configuration says by then.
        project: folder in the package that stands for the project folder; the flow is at `folder` below it.
        definition: the flow's file in its folder; flow_kind: `dag`, `flex`, `prompty` or `callable`.
        entry: `module:name` of a flex flow or a callable.
        import_roots: folders below `project` that must be on `sys.path` after the flow's folder.
        inputs: name to whether the flow needs it; outputs: names in the flow's order.
        files: path in the package to file, every file but the manifest itself.
        requirements: path in the package of the pinned requirements; empty when the flow declares none.
        run: id of the run that was judged; empty without a verdict.
        dataset: digest of its data; evaluators: name to digest of the evaluation flow.
        verdict: id of the verdict, which is `verdict.json`; empty without one.
        without_verdict: why there is none; empty when there is one.
        versions: of everything that took part, for instance `python`, `promptflow-core`.
    """

    kind: ClassVar[str] = "manifest"
    model: str
    digest: str
    flow: FlowRef
    project: str
    definition: str
    flow_kind: str
    entry: str = ""
    import_roots: Sequence[str] = ()
    inputs: Mapping[str, bool] = field(default_factory=dict)
    outputs: Sequence[str] = ()
    files: Mapping[str, PackagedFile] = field(default_factory=dict)
    requirements: str = ""
    run: str = ""
    dataset: str = ""
    evaluators: Mapping[str, str] = field(default_factory=dict)
    verdict: str = ""
    without_verdict: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The flow's folder below `project`; the project folder for a callable that is named by module."""
        return self.flow.path if self.definition else "."

    @property
    def source(self) -> str:
        """The flow as `read_flow_in` finds it below `project`."""
        return source_of(self.flow_kind, self.flow.path, self.definition, self.entry)


@dataclass(frozen=True, kw_only=True)
class EvidenceRef:
    """A document that speaks for a version.

    Attributes:
        digest: `sha256:` and 64 hexadecimal digits over its bytes.
    """

    kind: EvidenceKind
    id: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class ModelRecord(Record):
    """One registered version, as the registry knows it.

    Attributes:
        version: a whole number as text, counted from 1 by the registry.
        digest: as in the manifest; one name has no two versions with the same digest.
        manifest: digest over the bytes of the manifest, `sha256:` and 64 hexadecimal digits.
        evidence: added later than the package, oldest first.
        created_at: ISO 8601, UTC.
        created_by: who or which run, for people.
    """

    kind: ClassVar[str] = "model"
    name: str
    version: str
    digest: str
    manifest: str
    created_at: str
    created_by: str
    evidence: Sequence[EvidenceRef] = ()


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One step of a rollout as it went.

    Attributes:
        step: in words, as the plan showed it.
        result: what came of it, one sentence.
        at: ISO 8601, UTC, when it ended.
    """

    step: str
    result: str
    at: str


@dataclass(frozen=True, kw_only=True)
class RolloutRecord(Record):
    """How one rollout went; `.llmops/rollouts/<id>.json`. Nothing is resumed from it: that is what tags are for.

    Attributes:
        version, digest: what was wanted.
        deployment: the deployment that it was given; previous: the one that had the traffic, empty at the first.
        verdict: id of the verdict over the deployment itself; empty when it was not evaluated.
        requests: live requests that the new deployment saw before the outcome was known.
        reason: why it returned or stopped, or what a person gave as reason.
        by, link: who, and which run of the CI system; approvals: who approved, as the host recorded it.
    """

    kind: ClassVar[str] = "rollout"
    id: str
    action: RolloutAction
    experiment: str
    environment: str
    endpoint: str
    version: str
    digest: str
    outcome: RolloutOutcome
    exit_code: int
    deployment: str = ""
    previous: str = ""
    verdict: str = ""
    requests: int = 0
    reason: str = ""
    by: str = ""
    link: str = ""
    approvals: Sequence[str] = ()
    started_at: str
    ended_at: str
    steps: Sequence[StepRecord] = ()
