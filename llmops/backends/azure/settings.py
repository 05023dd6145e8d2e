"""The workspace that an environment names, with references expanded and defaults from the machine's variables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from llmops.config.model import AzureCloud, AzureIdentity, AzureRetries, Environment
from llmops.errors import Problem, UsageError

PROVIDER = "Microsoft.MachineLearningServices"
_AUDIENCES = {
    "AzureUSGovernment": "api://AzureADTokenExchangeUSGov",
    "AzureChinaCloud": "api://AzureADTokenExchangeChina",
}
_REFERENCE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")
_DEFAULTS = {
    "subscription_id": "AZURE_SUBSCRIPTION_ID",
    "resource_group": "AZURE_RESOURCE_GROUP",
    "workspace": "AZURE_WORKSPACE",
    "tenant_id": "AZURE_TENANT_ID",
    "client_id": "AZURE_CLIENT_ID",
    "service_connection_id": "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID",
}
_REGISTRY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,32}")
"""Source: the pattern of `registryName`, `azure.ai.ml._restclient.v2023_04_01_preview`, 1.32.0."""
_REQUIRED = ("subscription_id", "resource_group", "workspace")


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """Which Azure, with all its addresses; none ends with a slash.

    Attributes:
        is_own: not one of those that the SDKs know by name.
    """

    name: str
    azure_portal: str
    resource_manager: str
    active_directory: str
    aml_resource_id: str
    storage_endpoint: str
    registry_discovery_endpoint: str
    is_own: bool = False

    @property
    def authority(self) -> str:
        """Host of the token service."""
        return self.active_directory.partition("://")[2] or self.active_directory

    @property
    def exchange_audience(self) -> str:
        """What a federated assertion must be made out for."""
        return _AUDIENCES.get(self.name, "api://AzureADTokenExchange")

    def metadata(self) -> Mapping[str, str]:
        """Return the addresses as `MLClient(cloud_metadata=...)` wants them."""
        return {name: value for name, value in asdict(self).items() if name not in ("name", "is_own")}


CLOUDS: Mapping[str, Cloud] = {
    "AzureCloud": Cloud(
        name="AzureCloud",
        azure_portal="https://portal.azure.com",
        resource_manager="https://management.azure.com",
        active_directory="https://login.microsoftonline.com",
        aml_resource_id="https://ml.azure.com",
        storage_endpoint="core.windows.net",
        registry_discovery_endpoint="https://eastus.api.azureml.ms",
    ),
    "AzureUSGovernment": Cloud(
        name="AzureUSGovernment",
        azure_portal="https://portal.azure.us",
        resource_manager="https://management.usgovcloudapi.net",
        active_directory="https://login.microsoftonline.us",
        aml_resource_id="https://ml.azure.us",
        storage_endpoint="core.usgovcloudapi.net",
        registry_discovery_endpoint="https://usgovarizona.api.ml.azure.us",
    ),
    "AzureChinaCloud": Cloud(
        name="AzureChinaCloud",
        azure_portal="https://portal.azure.cn",
        resource_manager="https://management.chinacloudapi.cn",
        active_directory="https://login.chinacloudapi.cn",
        aml_resource_id="https://ml.azure.cn",
        storage_endpoint="core.chinacloudapi.cn",
        registry_discovery_endpoint="https://chinaeast2.api.ml.azure.cn",
    ),
}
"""Clouds that the SDKs know by name. Source: `azure.ai.ml._azure_environments`."""


@dataclass(frozen=True, kw_only=True)
class AzureSettings:
    """Where an environment is on Azure, and as whom it is reached.

    Attributes:
        tenant_id, client_id, service_connection_id: empty when nothing names them.
        registry: keeps the versions; empty when the workspace does.
        credentials: in order; empty for those that this machine has.
    """

    subscription_id: str
    resource_group: str
    workspace: str
    registry: str = ""
    tenant_id: str = ""
    client_id: str = ""
    service_connection_id: str = ""
    credentials: Sequence[AzureIdentity] = ()
    cloud: Cloud
    retries: AzureRetries

    @property
    def identity(self) -> str:
        """As whom the workspace is reached, in words; two that differ may still be one principal."""
        parts = {"client": self.client_id, "tenant": self.tenant_id, "service connection": self.service_connection_id}
        parts["credentials"] = ", ".join(self.credentials)
        return "; ".join(f"{name} {value}" for name, value in parts.items() if value) or "whoever this machine is"

    @property
    def workspace_id(self) -> str:
        """The workspace's id in Azure Resource Manager."""
        group = f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
        return f"{group}/providers/{PROVIDER}/workspaces/{self.workspace}"


def read_settings(environment: Environment, env: Mapping[str, str]) -> AzureSettings:
    """Read the section `azure` of an environment.

    Args:
        env: environment variables, for references and for what the file leaves out.

    Raises:
        UsageError: a variable is not set, nothing names the workspace, or a cloud of one's own lacks addresses.
    """
    where = f"environment '{environment.name}': azure"
    problems: list[Problem] = []
    values = {
        name: _value(getattr(environment.azure, name), variable, env, f"{where}.{name}", problems)
        for name, variable in _DEFAULTS.items()
    }
    for name in _REQUIRED:
        if not values[name] and not problems:
            fix = f"Set azure.{name} in the environment's file, or the variable {_DEFAULTS[name]}."
            problems.append(Problem(what=f"no {name}", where=where, fix=fix))
    registry = _registry(environment.azure.registry, env, f"{where}.registry", problems)
    cloud = _cloud(environment.azure.cloud, env, where, problems)
    if problems or cloud is None:
        raise UsageError(*problems)
    return AzureSettings(
        **values,
        registry=registry,
        credentials=environment.azure.credentials,
        cloud=cloud,
        retries=environment.azure.retries,
    )


def _registry(text: str, env: Mapping[str, str], where: str, problems: list[Problem]) -> str:
    name = _value(text, "", env, where, problems)
    if name and not _REGISTRY.fullmatch(name):
        expected = "3 to 33 letters, digits, '-' and '_', the first no '-' or '_'"
        problems.append(Problem(what="not a name for a registry", where=where, found=f"'{name}'", expected=expected))
    return name


def _value(text: str, variable: str, env: Mapping[str, str], where: str, problems: list[Problem]) -> str:
    for name in dict.fromkeys(_REFERENCE.findall(text)):
        if not env.get(name):
            problems.append(
                Problem(what=f"the environment variable {name} is not set", where=where, fix=f"Set {name}.")
            )
    return _REFERENCE.sub(lambda match: env.get(match.group(1), ""), text) or env.get(variable, "")


def _cloud(cloud: AzureCloud, env: Mapping[str, str], where: str, problems: list[Problem]) -> Cloud | None:
    given = {
        name: _value(value, "", env, f"{where}.cloud.{name}", problems).rstrip("/")
        for name, value in asdict(cloud).items()
        if name != "name"
    }
    if cloud.name in CLOUDS:
        if any(given.values()):
            found = ", ".join(name for name, value in given.items() if value)
            fix = "Give the cloud another name, or leave its addresses out."
            problems.append(
                Problem(what=f"addresses for the cloud '{cloud.name}'", where=f"{where}.cloud", found=found, fix=fix)
            )
        return CLOUDS[cloud.name]
    missing = [name for name, value in given.items() if not value]
    if missing:
        expected = f"one of {', '.join(CLOUDS)}, or all six addresses"
        problems.append(
            Problem(
                what=f"the cloud '{cloud.name}' lacks addresses",
                where=f"{where}.cloud",
                found=f"no {', '.join(missing)}",
                expected=expected,
            )
        )
        return None
    return Cloud(name=cloud.name, is_own=True, **given)
