"""`llmops register`: keep the very bytes that were judged, with the verdict, as a version."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from llmops.backends.local.workers import find_python
from llmops.backends.protocols import FlowSource, Registry
from llmops.commands.context import Context
from llmops.commands.host_report import set_outputs
from llmops.commands.sources import read_source
from llmops.commands.targets import Target, Tools, enter_delivery, find_target
from llmops.config.layers import Options
from llmops.core.documents import to_json
from llmops.delivery.lease import retry
from llmops.delivery.package import (
    VERDICT,
    Proof,
    build_package,
    content_digest,
    evidence_of,
    read_proof,
    sha256_of,
)
from llmops.errors import ExitCode, UsageError
from llmops.flows.closure import find_closure
from llmops.flows.commit import CommitTree
from llmops.flows.digest import digest_closure
from llmops.flows.folder import read_flow_in
from llmops.flows.tree import WorkingTree
from llmops.hosts.identity import identify
from llmops.records import RunRecord, read_record
from llmops.releases import ModelRecord


def register(
    *,
    context: Context,
    tools: Tools,
    experiment: str,
    run: str | None,
    without_verdict: str | None,
    flags: Options,
    json_output: bool,
) -> int:
    """Register the flow as it is, or as a run saw it.

    Args:
        context: of the command.
        tools: the collaborators.
        experiment: names the flow and the model.
        run: id of a run whose very files are registered; None for the files as they are now.
        without_verdict: why a version without a passing verdict is registered; None asks for one.
        flags: what the command line says of the experiment.
        json_output: write the version's record instead of a sentence.

    Raises:
        UsageError: no passing verdict for this content, files that are secrets, or files that are gone.
    """
    target = find_target(context, experiment, flags.environment, flags=flags)
    if without_verdict is not None and not without_verdict.strip():
        raise UsageError.of("a version without a verdict needs a reason", where="--without-verdict")
    with ExitStack() as stack:
        source = _source_of_run(target, run, stack) if run else _source_now(target)
        proofs = _find_proofs(target, content_digest(source.ref), run)
        proof = None if without_verdict else _pick(target, source, proofs)
        delivery = enter_delivery(stack, context, tools, target)
        known = retry(lambda: delivery.registry.find_digest(experiment, content_digest(source.ref)), tools.clock)
        model = known or _register(context, tools, target, source, proof, without_verdict or "", delivery.registry)
        model = _attach(tools, delivery.registry, model, proofs)
    set_outputs(context, {"version": model.version, "digest": model.digest, "manifest": model.manifest})
    context.write(json.dumps(to_json(model), indent=2) if json_output else _say(model, known, source, proof))
    return ExitCode.PASS


def _source_now(target: Target) -> FlowSource:
    return read_source(WorkingTree(target.project.root), target.experiment)


def _source_of_run(target: Target, run: str, stack: ExitStack) -> FlowSource:
    """Find the files that a run saw: in the working tree if they are the same, else in the commit it was made from."""
    record = read_record(target.project.state / "runs" / run / "run.json", RunRecord)
    wanted = record.flow
    as_it_ran = replace(target.experiment, variants=wanted.variants, nodes=wanted.nodes, init=wanted.init)
    now = read_source(WorkingTree(target.project.root), as_it_ran)
    if now.ref.digest == wanted.digest:
        return replace(now, ref=replace(wanted, commit=now.ref.commit, dirty=now.ref.dirty))
    if wanted.commit is None or wanted.dirty:
        raise UsageError.of(
            "the files of this run are gone",
            where=f"run {run}",
            found="it was made from files that no commit holds, and they have changed since",
            fix="Commit, then run `llmops check` again.",
        )
    tree = stack.enter_context(CommitTree(target.project.root, wanted.commit))
    closure = find_closure(tree, read_flow_in(tree, target.experiment.flow))
    if (found := digest_closure(tree, closure)) != wanted.digest:
        raise UsageError.of("the commit holds other files than the run saw", found=found, expected=wanted.digest)
    return FlowSource(ref=wanted, tree=tree, closure=closure)


def _find_proofs(target: Target, digest: str, run: str | None) -> list[Proof]:
    """Read every verdict over this content, oldest first."""
    proofs = []
    for path in (target.project.state / "verdicts").glob("*.json"):
        proof = read_proof(path)
        judged = proof.verdict.candidate.run
        if content_digest(judged.flow) == digest and run in (None, judged.id):
            proofs.append(proof)
    return sorted(proofs, key=lambda proof: proof.verdict.created_at)


def _pick(target: Target, source: FlowSource, proofs: Sequence[Proof]) -> Proof:
    name = target.experiment.name
    mine = [proof for proof in proofs if proof.verdict.experiment == name]
    where = f"{source.ref.path}, {content_digest(source.ref)}"
    fix = f"Run: llmops check {name}"
    if not mine:
        raise UsageError.of("no verdict for this very content", where=where, fix=fix)
    newest = mine[-1]
    if newest.verdict.exit_code != ExitCode.PASS:
        raise UsageError.of(
            "the newest verdict for this content did not pass",
            where=where,
            found=f"{newest.verdict.outcome} in {newest.verdict.id}",
            fix="Change the flow, or give a reason: --without-verdict REASON.",
        )
    return newest


def _register(
    context: Context,
    tools: Tools,
    target: Target,
    source: FlowSource,
    proof: Proof | None,
    without_verdict: str,
    registry: Registry,
) -> ModelRecord:
    who = identify(context.env)
    created_by = f"{who.name} {who.link}".strip()
    parent = target.project.state / "tmp"
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix="package-") as folder:
        name = target.experiment.name
        manifest = build_package(
            source,
            model=name,
            proof=proof,
            without_verdict=without_verdict,
            into=Path(folder),
            find_python=lambda root: find_python(source, root, target.project.state, context.env),
        )
        return retry(
            lambda: registry.register(Path(folder), name=name, digest=manifest.digest, created_by=created_by),
            tools.clock,
        )


def _attach(tools: Tools, registry: Registry, model: ModelRecord, proofs: Sequence[Proof]) -> ModelRecord:
    """Attach the verdicts that passed and are neither in the package nor attached yet."""
    passed = [proof for proof in proofs if proof.verdict.exit_code == ExitCode.PASS]
    if not passed:
        return model
    packaged = retry(lambda: registry.fetch(model), tools.clock) / VERDICT
    there = {entry.digest for entry in model.evidence}
    if packaged.exists():
        there.add(sha256_of(packaged.read_bytes()))
    for proof in passed:
        if evidence_of(proof).digest not in there:
            model = _attach_one(tools, registry, model, proof)
    return model


def _attach_one(tools: Tools, registry: Registry, model: ModelRecord, proof: Proof) -> ModelRecord:
    return retry(lambda: registry.add_evidence(model, evidence_of(proof), proof.content), tools.clock)


def _say(model: ModelRecord, known: ModelRecord | None, source: FlowSource, proof: Proof | None) -> str:
    verb = "is registered already" if known else "registered"
    lines = [f"{model.name} version {model.version} {verb}: {model.digest}"]
    lines.append(f"  verdict {proof.verdict.id}" if proof else "  without a verdict")
    if known and (added := len(model.evidence) - len(known.evidence)):
        lines.append(f"  {added} more verdicts attached")
    if source.ref.dirty:
        lines.append("  its files are in no commit")
    return "\n".join([*lines, f"Next: llmops deploy {model.name} --version {model.version}"])
