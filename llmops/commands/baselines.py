"""The flow as it stands at another commit, and which one a candidate is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from llmops.backends.protocols import FlowSource
from llmops.commands.preparation import Prepared
from llmops.commands.sources import flow_ref
from llmops.config.layers import Options, layer
from llmops.errors import UsageError
from llmops.flows.closure import find_closure
from llmops.flows.commit import CommitTree
from llmops.flows.folder import FlowMissing, read_flow_in
from llmops.flows.git import default_baseline_ref, merge_base, resolve_ref
from llmops.flows.tree import FileTree


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What the candidate is compared with.

    Attributes:
        source: None when there is nothing to compare with, or when it cannot be used.
        reason: which it is or why there is none, for reports.
        problem: why a baseline that exists cannot be used; empty otherwise.
    """

    source: FlowSource | None
    reason: str
    problem: str = ""


def find_baseline(
    prepared: Prepared, asked: str | None, *, env: Mapping[str, str], flags: Options, resources: ExitStack
) -> Baseline:
    """Find the flow as it stands at the merge base.

    Args:
        asked: a git ref, `none`, or None for the default: the target branch of the CI run, else `origin/HEAD`.
        flags: what the command line says; variants chosen there are for the candidate alone.
        resources: keeps what reads the commit open until the caller is done.

    Raises:
        UsageError: the ref does not exist, or has no commit in common with what is checked out.
    """
    root = prepared.project.root
    if asked == "none":
        return Baseline(source=None, reason="no baseline was asked for")
    chosen = default_baseline_ref(root, env)
    ref, reason = (asked, f"the merge base with {asked}") if asked else (chosen.ref, chosen.reason)
    if ref is None:
        return Baseline(source=None, reason=reason)
    commit = merge_base(root, ref)
    tree = resources.enter_context(CommitTree(root, commit))
    variants = layer(
        prepared.project, prepared.experiment.name, env=env, flags=replace(flags, variants=None)
    ).experiment.variants
    try:
        source = _read_at(tree, prepared, variants, commit, ref)
    except FlowMissing:
        return Baseline(source=None, reason=f"the flow does not exist at {commit[:12]} (merge base with {ref})")
    except UsageError as error:
        return Baseline(source=None, reason=reason, problem=f"the baseline at {commit[:12]} cannot be used: {error}")
    return Baseline(source=source, reason=reason)


def read_source_at(prepared: Prepared, ref: str, resources: ExitStack) -> FlowSource:
    """Read the experiment's flow as it stands at a commit."""
    commit = resolve_ref(prepared.project.root, ref)
    tree = resources.enter_context(CommitTree(prepared.project.root, commit))
    return _read_at(tree, prepared, prepared.experiment.variants, commit, ref)


def _read_at(tree: FileTree, prepared: Prepared, variants: Mapping[str, str], commit: str, ref: str) -> FlowSource:
    flow = read_flow_in(tree, prepared.experiment.flow)
    known = {
        node: variant
        for node, variant in variants.items()
        if node in flow.variants and variant in flow.variants[node].names
    }
    nodes = {node: settings for node, settings in prepared.experiment.nodes.items() if node in flow.nodes}
    closure = find_closure(tree, flow)
    ref_of_flow = flow_ref(tree, closure, prepared.experiment, variants=known, nodes=nodes)
    return FlowSource(ref=replace(ref_of_flow, commit=commit, ref=ref), tree=tree, closure=closure)
