"""Which actions of Azure Resource Manager each command needs, and which built-in roles have them.

Source: https://learn.microsoft.com/azure/machine-learning/how-to-assign-roles and
https://learn.microsoft.com/azure/role-based-access-control/built-in-roles/ai-machine-learning
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from llmops.backends.azure.arm import Arm
from llmops.backends.azure.settings import PROVIDER

VERSION = "2022-04-01"
_WORKSPACE = f"{PROVIDER}/workspaces"
_REGISTRY = f"{PROVIDER}/registries"


class Need(NamedTuple):
    """One action, and the built-in role of the workspace, or of the registry, that has it."""

    action: str
    role: str = "AzureML Data Scientist"


_READ = (Need(f"{_WORKSPACE}/read", "Reader"),)
_MODELS = (
    Need(f"{_WORKSPACE}/models/read"),
    Need(f"{_WORKSPACE}/models/versions/read"),
    Need(f"{_WORKSPACE}/models/versions/write"),
)
_BLOBS = (
    Need(f"{_WORKSPACE}/datastores/read"),
    Need(f"{_WORKSPACE}/datastores/listSecrets/action"),
)
_OBSERVE = (
    Need(f"{_WORKSPACE}/onlineEndpoints/read"),
    Need(f"{_WORKSPACE}/onlineEndpoints/deployments/read"),
)
_ASK = (Need(f"{_WORKSPACE}/onlineEndpoints/listKeys/action"),)
_SERVE = (
    Need(f"{_WORKSPACE}/onlineEndpoints/write"),
    Need(f"{_WORKSPACE}/onlineEndpoints/deployments/write"),
    Need(f"{_WORKSPACE}/onlineEndpoints/deployments/delete"),
    Need(f"{_WORKSPACE}/onlineEndpoints/deployments/getLogs/action"),
    Need(f"{_WORKSPACE}/environments/versions/read"),
    Need(f"{_WORKSPACE}/environments/versions/write"),
    Need(f"{_WORKSPACE}/codes/versions/read"),
    Need(f"{_WORKSPACE}/codes/versions/write"),
    Need(f"{_WORKSPACE}/connections/read"),
    Need("Microsoft.Insights/metrics/read", "Monitoring Reader"),
)
_RUNS = (
    Need(f"{_WORKSPACE}/data/read"),
    Need(f"{_WORKSPACE}/data/versions/read"),
    Need(f"{_WORKSPACE}/data/versions/write"),
    Need(f"{_WORKSPACE}/experiments/runs/read"),
    Need(f"{_WORKSPACE}/experiments/runs/write"),
    Need(f"{_WORKSPACE}/experiments/runs/submit/action"),
)
_JOBS = (
    Need(f"{_WORKSPACE}/jobs/read"),
    Need(f"{_WORKSPACE}/jobs/write"),
    Need(f"{_WORKSPACE}/jobs/cancel/action"),
    Need(f"{_WORKSPACE}/environments/read"),
    Need(f"{_WORKSPACE}/environments/versions/read"),
    Need(f"{_WORKSPACE}/environments/versions/write"),
)
_SCALE = (
    Need("Microsoft.Insights/autoscalesettings/write", "Monitoring Contributor"),
    Need("Microsoft.Insights/autoscalesettings/delete", "Monitoring Contributor"),
)
_TOKENS = (Need(f"{_WORKSPACE}/onlineEndpoints/score/action"),)

_SHARED = (
    Need(f"{_REGISTRY}/read", "AzureML Registry User"),
    Need(f"{_REGISTRY}/assets/read", "AzureML Registry User"),
    Need(f"{_REGISTRY}/assets/write", "AzureML Registry User"),
)

TOKENS = "invoke, deploy, evaluate with auth_mode aad_token"
REGISTER = "register"
JOBS, AUTOSCALE = "run, check, evaluate in command jobs", "deploy with autoscale"
DEPLOY = "deploy, promote, rollback"
FROM_REGISTRY = "status, models, deploy, rollback, evaluate --scheduled with a registry"
TO_REGISTRY = "register, promote with a registry"
COMMANDS: Mapping[str, Sequence[Need]] = {
    "status, models": (*_READ, *_OBSERVE, *_MODELS[:2], *_BLOBS),
    "invoke": (*_READ, *_OBSERVE, *_ASK),
    "run, check, evaluate, runs": (*_READ, *_BLOBS, *_RUNS),
    JOBS: _JOBS,
    "evaluate --scheduled": (*_READ, *_BLOBS, *_RUNS, *_MODELS[:2], *_OBSERVE, *_ASK),
    REGISTER: (*_READ, *_MODELS, *_BLOBS),
    DEPLOY: (*_READ, *_MODELS, *_BLOBS, *_OBSERVE, *_ASK, *_SERVE),
    AUTOSCALE: _SCALE,
    TOKENS: _TOKENS,
    FROM_REGISTRY: _SHARED[:2],
    TO_REGISTRY: _SHARED,
}
"""What each command needs; `JOBS`, `AUTOSCALE`, `TOKENS` and those with a registry besides, where it is asked for."""
IN_REGISTRY = (FROM_REGISTRY, TO_REGISTRY)
"""What is needed in the registry; all else in the workspace, which then keeps no models."""


class Permissions(NamedTuple):
    """What an identity may do in a workspace: each of `grants` allows some actions but for others."""

    grants: Sequence[tuple[Sequence[str], Sequence[str]]]

    def allows(self, action: str) -> bool:
        """Tell whether an action is allowed by any grant."""
        return any(_any_of(action, actions) and not _any_of(action, but) for actions, but in self.grants)

    def missing(self, needs: Iterable[Need]) -> list[Need]:
        """Return the needs that are not met, each once."""
        return [need for need in dict.fromkeys(needs) if not self.allows(need.action)]


def needs_of(command: str, *, has_registry: bool) -> Sequence[Need]:
    """Return what a command needs; where a registry keeps the models, nothing for those of the workspace."""
    return [need for need in COMMANDS[command] if not (has_registry and need in _MODELS)]


def read_permissions(arm: Arm, registry: str = "") -> Permissions:
    """Ask what the present identity may do in the workspace.

    Args:
        registry: id of the registry that is asked about instead.
    """
    path = f"{registry or arm.path('')}/providers/Microsoft.Authorization/permissions"
    where = "registry" if registry else "workspace"
    listed = arm.list(path, version=VERSION, what=f"read what this identity may do in the {where}")
    return Permissions([(_texts(one, "actions"), _texts(one, "notActions")) for one in listed])


def _texts(grant: Mapping[str, Any], name: str) -> Sequence[str]:
    return [str(one).lower() for one in grant.get(name) or ()]


def _any_of(action: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(action.lower(), pattern) for pattern in patterns)
