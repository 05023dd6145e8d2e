"""The bodies of what is written to Azure Resource Manager; values in, JSON out.

Source: the examples of the public specification, `preview/2022-02-01-preview/examples/OnlineEndpoint` and
`preview/2023-04-01-preview/examples/OnlineDeployment`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from llmops.backends.azure.arm import Document
from llmops.backends.azure.serving import PYTHON_IMAGE, RUNTIME, AzureServing
from llmops.backends.azure.settings import AzureSettings
from llmops.releases import ModelRecord

ENDPOINT_VERSION = "2022-02-01-preview"
DEPLOYMENT_VERSION = "2023-04-01-preview"
ENVIRONMENT_VERSION = "2023-04-01-preview"
DIGEST = "llmops.digest"
_WRITABLE = ("authMode", "description", "properties", "traffic", "mirrorTraffic", "publicNetworkAccess", "compute")
_AUTH_MODES = {"key": "Key", "aad_token": "AADToken"}
_ROUTE = {"path": "/health", "port": 8080}
_SERVER = "azureml-inference-server-http>=1.4,<2"


def new_endpoint(serving: AzureServing, *, location: str, tags: Mapping[str, str]) -> Document:
    """Describe an endpoint that does not exist yet; traffic can only be set when it has deployments."""
    identity: Document = {"type": "SystemAssigned"}
    if serving.identities:
        identity = {"type": "UserAssigned", "userAssignedIdentities": {one: {} for one in serving.identities}}
    properties = {
        "authMode": _AUTH_MODES[serving.auth_mode],
        "publicNetworkAccess": "Enabled" if serving.public_network_access else "Disabled",
        # Lets the endpoint's identity read the workspace's connections, if who creates it may do so too.
        "properties": {"enforce_access_to_default_secret_stores": "enabled"},
        "traffic": {},
        "mirrorTraffic": {},
    }
    return {"location": location, "tags": dict(tags), "identity": identity, "properties": properties}


def changed_endpoint(
    found: Document,
    *,
    traffic: Mapping[str, int] | None,
    mirror: Mapping[str, int] | None,
    tags: Mapping[str, str | None],
) -> Document:
    """Describe an endpoint as it is to be: all that was found and may be written, with the changes."""
    properties = {name: value for name, value in found["properties"].items() if name in _WRITABLE and value is not None}
    if traffic is not None:
        properties["traffic"] = _without_zeros(traffic)
    if mirror is not None:
        properties["mirrorTraffic"] = _without_zeros(mirror)
    identity = found.get("identity") or {}
    kept = {name: identity[name] for name in ("type", "userAssignedIdentities") if identity.get(name)}
    if "userAssignedIdentities" in kept:
        kept["userAssignedIdentities"] = {one: {} for one in kept["userAssignedIdentities"]}
    merged = {name: value for name, value in {**(found.get("tags") or {}), **tags}.items() if value is not None}
    return {"location": found["location"], "tags": merged, "identity": kept, "properties": properties}


def new_deployment(
    serving: AzureServing,
    *,
    location: str,
    model: ModelRecord,
    model_id: str,
    environment_id: str,
    code_id: str,
    variables: Mapping[str, str],
    tags: Mapping[str, str],
) -> Document:
    """Describe a deployment."""
    properties: Document = {
        "endpointComputeType": "Managed",
        "model": model_id,
        "environmentId": environment_id,
        "environmentVariables": dict(variables),
        "instanceType": serving.instance_type,
        "appInsightsEnabled": serving.app_insights,
        "egressPublicNetworkAccess": "Enabled" if serving.egress_public else "Disabled",
        "requestSettings": {
            "requestTimeout": duration(serving.request_timeout_s),
            "maxConcurrentRequestsPerInstance": serving.max_concurrent_requests,
            "maxQueueWait": duration(serving.max_queue_wait_s),
        },
        "livenessProbe": {"initialDelay": duration(serving.start_timeout_s)},
        "readinessProbe": {"initialDelay": duration(serving.start_timeout_s)},
        "scaleSettings": {"scaleType": "Default"},
        "properties": {DIGEST: model.digest},
    }
    if code_id:
        properties["codeConfiguration"] = {"codeId": code_id, "scoringScript": "score.py"}
    if serving.data_collector:
        rate = serving.data_collector.sampling_rate
        collections = {
            name: {"dataCollectionMode": "Enabled", "samplingRate": rate} for name in serving.data_collector.collections
        }
        properties["dataCollector"] = {"collections": collections, "rollingRate": "Hour"}
    count = serving.autoscale.min_instances if serving.autoscale else serving.instance_count
    return {
        "location": location,
        "tags": dict(tags),
        "sku": {"name": "Default", "capacity": count},
        "properties": properties,
    }


def promptflow_variables(settings: AzureSettings, endpoint: str, deployment: str) -> Mapping[str, str]:
    """Return the variables with which prompt flow's runtime serves and finds the workspace's connections.

    Source: `promptflow.core._serving.extension.azureml_extension`, 1.18.5.
    """
    where = {
        "subscription_id": settings.subscription_id,
        "resource_group": settings.resource_group,
        "workspace_name": settings.workspace,
        "endpoint_name": endpoint,
        "deployment_name": deployment,
    }
    override = ",".join(f"deployment.{name}={value}" for name, value in where.items())
    return {"PROMPTFLOW_RUN_MODE": "serving", "PRT_CONFIG_OVERRIDE": override}


def promptflow_environment(serving: AzureServing, context_uri: str) -> Document:
    """Describe the environment of a prompt flow: the runtime's image, or one that is built on it.

    Args:
        context_uri: folder with a Dockerfile; empty when the image has all that the flow needs.
    """
    routes = {"livenessRoute": _ROUTE, "readinessRoute": _ROUTE, "scoringRoute": {**_ROUTE, "path": "/score"}}
    source: Document = {"image": serving.image or RUNTIME}
    if context_uri:
        source = {"build": {"contextUri": context_uri, "dockerfilePath": "Dockerfile"}}
    return {"properties": {**source, "inferenceConfig": routes, "osType": "Linux", "isAnonymous": False}}


def python_environment(serving: AzureServing, requirements: str) -> Document:
    """Describe the environment of a plain Python flow.

    Args:
        requirements: text of the pinned requirements; empty when there are none.
    """
    lines = [line.strip() for line in requirements.splitlines()]
    packages = [line for line in lines if line and not line.startswith(("#", "-"))]
    conda = {
        "name": "flow",
        "channels": ["conda-forge"],
        "dependencies": [f"python={serving.python}", "pip", {"pip": [_SERVER, *packages]}],
    }
    properties = {"image": serving.image or PYTHON_IMAGE, "condaFile": json.dumps(conda, indent=2)}
    return {"properties": {**properties, "osType": "Linux", "isAnonymous": False}}


def dockerfile(serving: AzureServing) -> str:
    """Write the Dockerfile that adds a flow's requirements to the runtime."""
    return (
        f"FROM {serving.image or RUNTIME}\n"
        "COPY requirements.txt /llmops/requirements.txt\n"
        "RUN pip install --no-cache-dir -r /llmops/requirements.txt\n"
    )


def version_of(body: Document) -> str:
    """Name a version by its content, so that the same definition is one version."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


def autoscale(serving: AzureServing, *, target: str, name: str, location: str) -> Document:
    """Describe how a deployment scales (assumed: `Microsoft.Insights/autoscalesettings`, 2022-10-01)."""
    rules = serving.autoscale
    assert rules is not None

    def rule(operator: str, threshold: float, direction: str) -> Document:
        return {
            "metricTrigger": {
                "metricName": "CpuUtilizationPercentage",
                "metricNamespace": "",
                "metricResourceUri": target,
                "operator": operator,
                "statistic": "Average",
                "threshold": threshold,
                "timeAggregation": "Average",
                "timeGrain": "PT1M",
                "timeWindow": "PT5M",
            },
            "scaleAction": {"direction": direction, "type": "ChangeCount", "value": "1", "cooldown": "PT5M"},
        }

    profile: dict[str, Any] = {
        "name": "load",
        "capacity": {
            "minimum": str(rules.min_instances),
            "maximum": str(rules.max_instances),
            "default": str(rules.min_instances),
        },
        "rules": [
            rule("GreaterThan", rules.cpu_out_percent, "Increase"),
            rule("LessThan", rules.cpu_in_percent, "Decrease"),
        ],
    }
    properties = {"name": name, "enabled": True, "targetResourceUri": target, "profiles": [profile]}
    return {"location": location, "properties": properties}


def duration(seconds: float) -> str:
    """Write seconds as ISO 8601 wants them."""
    return f"PT{seconds:g}S"


def _without_zeros(shares: Mapping[str, int]) -> dict[str, int]:
    return {name: share for name, share in shares.items() if share}
