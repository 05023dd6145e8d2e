"""Read flows: what they are made of, and how an experiment or an evaluator wants them run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from llmops.backends.protocols import FlowSource
from llmops.config.model import Evaluator
from llmops.errors import UsageError
from llmops.evaluators.builtin.source import builtin_closure, builtin_ref
from llmops.flows.closure import Closure, find_closure
from llmops.flows.digest import digest_closure
from llmops.flows.folder import read_flow_in, validate_nodes, validate_variants
from llmops.flows.git import head_commit, is_dirty
from llmops.flows.model import Flow
from llmops.flows.tree import FileTree, WorkingTree
from llmops.records import FlowRef


class HowToRun(Protocol):
    """What an experiment and an evaluator say of their flow; see `config.model.Experiment`."""

    @property
    def flow(self) -> str:
        """Folder, file or callable."""

    @property
    def variants(self) -> Mapping[str, str]:
        """Node to variant."""

    @property
    def nodes(self) -> Mapping[str, Mapping[str, str]]:
        """Node to settings that overlay it."""

    @property
    def init(self) -> Mapping[str, Any]:
        """Arguments of a class that is the flow."""

    @property
    def python(self) -> str:
        """Interpreter."""

    @property
    def environment_variables(self) -> Mapping[str, str]:
        """Set in the worker process."""


def read_source(tree: WorkingTree, how: HowToRun) -> FlowSource:
    """Read a flow of the working tree, its closure and its digest."""
    flow = read_flow_in(tree, how.flow)
    validate_variants(flow, how.variants)
    validate_nodes(flow, how.nodes)
    _check_init(flow, how.init)
    closure = find_closure(tree, flow)
    commit = head_commit(tree.top)
    dirty = commit is not None and is_dirty(tree.top, [source.path for source in closure.files.values()])
    ref = flow_ref(tree, closure, how, variants=how.variants, nodes=how.nodes)
    return FlowSource(ref=replace(ref, commit=commit, dirty=dirty), tree=tree, closure=closure)


def read_evaluator(tree: WorkingTree, evaluator: Evaluator) -> FlowSource:
    """Read an evaluation flow, or make one of a built-in metric."""
    if evaluator.builtin is None:
        return read_source(tree, evaluator)
    ref = builtin_ref(evaluator.builtin, evaluator.options)
    return FlowSource(ref=ref, tree=tree, closure=builtin_closure(evaluator.builtin))


def _check_init(flow: Flow, init: Mapping[str, Any]) -> None:
    if init and flow.kind not in {"flex", "callable"}:
        raise UsageError.of(
            "arguments for a class, but the flow is none",
            where=f"{flow.name}: init",
            found=", ".join(map(repr, init)),
            fix="Remove `init`; only flex flows and callables are classes.",
        )


def flow_ref(
    tree: FileTree,
    closure: Closure,
    how: HowToRun,
    *,
    variants: Mapping[str, str],
    nodes: Mapping[str, Mapping[str, str]],
) -> FlowRef:
    """Name a flow version by its digest and by what overlays it."""
    return FlowRef(
        path=closure.flow.name,
        digest=digest_closure(tree, closure),
        variants=variants,
        nodes=nodes,
        init=how.init,
        python=how.python,
        environment_variables=sorted(how.environment_variables),
    )
