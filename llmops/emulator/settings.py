"""What the emulator is told when it starts, and may be told again while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the emulated service behaves.

    Attributes:
        region: of every workspace.
        workspaces, registries: names that exist; empty: every name does.
        registry_regions: regions whose workspaces may use the registries; empty: `region` alone.
        operation_s: shortest time of a long-running operation.
        poll_ms: hint in `x-ms-retry-after-ms`; 0 sends none, and the SDKs then poll every 5 or 30 s.
        retry_after_s: hint in `Retry-After`, which wins over `poll_ms`; 0 sends none.
        run_phase_s: shortest time of each status that a run passes through.
        token_s: lifetime of the tokens that are issued from now on.
        changed_path_status: answer to a registered model version that is put again with another path; the service's
            own is not known.
        lists_unknown_models: the versions of an unknown model are an empty list, not a 404; see there.
        datastore_credentials: `None` makes the SDKs use the caller's own identity on the blob service.
        secrets_type: what `listSecrets` of the datastore gives; with `AccountKey`, as the service once gave, current
            SDKs fail. The key that is shown opens nothing.
        core_quota: cores that all deployments of a subscription may use.
        denied: globs over actions that the list of the caller's permissions leaves out; a fault refuses requests.
        model_deployments: name to `{name, version}` of the model: deployments of the one Azure OpenAI account that
            every connection of that kind names.
        new_upload_places: every upload to a registry gets a container of its own, whatever reference it names; whether
            the service keeps to the reference is not known.
        connections: name to `{type, configs, secrets}`, and `metadata` beside those of the type: connections that every
            workspace has from the start.
    """

    region: str = "eastus"
    workspaces: tuple[str, ...] = ()
    registries: tuple[str, ...] = ()
    registry_regions: tuple[str, ...] = ()
    new_upload_places: bool = False
    operation_s: float = 0.15
    poll_ms: int = 100
    retry_after_s: int = 0
    run_phase_s: float = 0.05
    token_s: float = 3600.0
    changed_path_status: int = 400
    lists_unknown_models: bool = False
    datastore_credentials: Literal["AccountKey", "None"] = "AccountKey"
    secrets_type: Literal["Sas", "AccountKey"] = "Sas"
    core_quota: int = 100
    denied: tuple[str, ...] = ()
    model_deployments: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    connections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
