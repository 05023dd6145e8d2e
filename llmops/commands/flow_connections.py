"""Which connections flows use, resolved; which environment variables their processes get."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from llmops.backends.protocols import FlowSource
from llmops.commands.sources import HowToRun
from llmops.config.connections import ResolvedConnection, resolve_connections
from llmops.config.model import Environment
from llmops.errors import Problem, UsageError, near_match
from llmops.flows.folder import connections_in_use
from llmops.flows.model import ConnectionUse


def variables_of(environment: Environment, how: HowToRun) -> dict[str, str]:
    """Return the environment variables of a flow's processes: the environment's, then its own."""
    return {**environment.environment_variables, **how.environment_variables}


def resolve_used(
    environment: Environment,
    sources: Sequence[tuple[FlowSource, Mapping[str, str]]],
    env: Mapping[str, str],
    *,
    needs_keys: bool,
) -> Mapping[str, ResolvedConnection]:
    """Resolve the connections that flows use.

    Args:
        environment: has them.
        sources: each flow with its environment variables.
        env: environment variables, for references.
        needs_keys: whether the variables that connections refer to must be set.

    Raises:
        UsageError: a connection is not there, or a variable is not set; all of them at once.
    """
    problems, used = [], {}
    for source, variables in sources:
        for use in _uses(source, variables, environment.connections):
            if use.name in environment.connections:
                used[use.name] = environment.connections[use.name]
                continue
            known = sorted(environment.connections)
            problems.append(
                Problem(
                    what=f"the environment '{environment.name}' has no connection '{use.name}'",
                    where=use.where,
                    expected=", ".join(map(repr, known)) or "a connection in the environment file",
                    fix=near_match(use.name, known) or f"Add it to config/environments/{environment.name}.yaml.",
                )
            )
    resolved: Mapping[str, ResolvedConnection] = {}
    try:
        resolved = resolve_connections(used, env, needs_values=needs_keys)
    except UsageError as error:
        problems.extend(error.problems)
    if problems:
        raise UsageError(*problems)
    return resolved


def used_by(
    source: FlowSource, connections: Mapping[str, ResolvedConnection], variables: Mapping[str, str]
) -> dict[str, ResolvedConnection]:
    """Choose from resolved connections those of one flow, sorted by name."""
    names = {use.name for use in _uses(source, variables, connections)}
    return {name: connection for name, connection in sorted(connections.items()) if name in names}


def _uses(source: FlowSource, variables: Mapping[str, str], known: Collection[str]) -> Sequence[ConnectionUse]:
    ref = source.ref
    return connections_in_use(
        source.flow, ref.variants, nodes=ref.nodes, init=ref.init, variables=variables, known=known
    )
