"""What `llmops doctor` can say of a workspace: who we are there, what we may do, what is left of the quota."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from llmops.backends.azure.arm import Arm
from llmops.backends.azure.credentials import kinds_of
from llmops.backends.azure.discovery import discover
from llmops.backends.azure.models import WorkspaceModels
from llmops.backends.azure.preflight import Preflight
from llmops.backends.azure.roles import (
    AUTOSCALE,
    COMMANDS,
    IN_REGISTRY,
    JOBS,
    REGISTER,
    TOKENS,
    Permissions,
    needs_of,
    read_permissions,
)
from llmops.backends.azure.serving import AzureServing, read_serving
from llmops.backends.azure.session import open_session
from llmops.backends.protocols import Finding
from llmops.config.model import Environment
from llmops.errors import ExitCode, LlmopsError

WORKSPACE_VERSION = "2024-10-01-preview"
_ASSUMED = "assumed, see docs/azure.md"


def inspect(environment: Environment, state: Path, env: Mapping[str, str]) -> Iterator[Finding]:
    """Look at an environment's workspace; asks Azure and changes nothing.

    Args:
        environment: of the backend azure.
        state: the project's `.llmops/` folder.
        env: environment variables.
    """
    try:
        session = open_session(environment, state, env)
        kinds = ", ".join(kinds_of(session.settings, env)) or "none"
        with contextlib.closing(Arm(session)) as arm:
            what = f"open the workspace '{session.settings.workspace}'"
            found = arm.send("GET", arm.path(""), version=WORKSPACE_VERSION, what=what).body
            yield Finding("workspace", f"{session.settings.workspace} in {found['location']}, as: {kinds}")
            yield from _look(arm, environment, str(found["location"]))
    except LlmopsError as error:
        problem = error.problems[0]
        text = f"{problem.what}" + (f" ({problem.found})" if problem.found else "")
        yield Finding("workspace", text, problem.fix, error.exit_code)


def _look(arm: Arm, environment: Environment, location: str) -> Iterator[Finding]:
    serving = read_serving(environment.serving, f"environment '{environment.name}'")
    yield from _roles(arm, _not_needed(arm, environment, serving))
    if arm.session.settings.registry:
        yield from _registry(arm, location)
    preflight = Preflight(arm, location, serving)
    kept = [name for name, one in environment.connections.items() if one.type == "workspace"]
    lacking = list(WorkspaceModels(arm).missing(kept))
    for problem in lacking:
        yield Finding("connections", problem.what, problem.fix, ExitCode.REFUSED)
    if kept and not lacking:
        yield Finding("connections", f"the workspace has {', '.join(kept)}")
    short = list(preflight.quota())
    for problem in short:
        text = f"{problem.what}: {problem.found}" if problem.found else problem.what
        yield Finding("quota", f"{text} ({_ASSUMED})", problem.fix, ExitCode.REFUSED)
    if not short:
        yield Finding("quota", f"enough for one more {serving.instance_type} deployment ({_ASSUMED})")


def _not_needed(arm: Arm, environment: Environment, serving: AzureServing) -> set[str]:
    """Name what this environment never does."""
    asks_for = {
        JOBS: environment.azure.runs.compute == "job",
        AUTOSCALE: serving.autoscale is not None,
        TOKENS: serving.auth_mode == "aad_token",
        REGISTER: not arm.session.settings.registry,
    }
    return {command for command, is_asked in asks_for.items() if not is_asked}


def _roles(arm: Arm, not_needed: set[str]) -> Iterator[Finding]:
    permissions, has_registry = read_permissions(arm), bool(arm.session.settings.registry)
    for command in COMMANDS:
        if command not in not_needed and command not in IN_REGISTRY:
            yield _role(permissions, command, "workspace", has_registry=has_registry)


def _registry(arm: Arm, location: str) -> Iterator[Finding]:
    """Look at the registry; that there is none is an error of its own, beside what the workspace has."""
    try:
        home = discover(arm)
        yield Finding("registry", f"{home.name} in {', '.join(home.regions) or 'regions that Azure does not name'}")
        for problem in home.find_obstacles(location):
            yield Finding("registry", problem.what, problem.fix, ExitCode.REFUSED)
        permissions = read_permissions(arm, home.id)
    except LlmopsError as error:
        problem = error.problems[0]
        yield Finding("registry", f"{problem.what} ({problem.found})", problem.fix, error.exit_code)
        return
    for command in IN_REGISTRY:
        yield _role(permissions, command, "registry", has_registry=True)


def _role(permissions: Permissions, command: str, where: str, *, has_registry: bool) -> Finding:
    missing = permissions.missing(needs_of(command, has_registry=has_registry))
    if not missing:
        return Finding(f"roles for {command}", f"this identity has all actions ({_ASSUMED})")
    actions = ", ".join(need.action for need in missing)
    roles = " and ".join(dict.fromkeys(need.role for need in missing))
    fix = f"Give it {roles} on the {where}, or a role of your own with these actions."
    return Finding(f"roles for {command}", f"missing: {actions} ({_ASSUMED})", fix, ExitCode.REFUSED)
