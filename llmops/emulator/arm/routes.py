"""What the control plane answers to."""

from __future__ import annotations

from llmops.emulator.arm import assets, connections, deployments, endpoints, insights, jobs, polling, usage, workspaces
from llmops.emulator.routing import Handler, Router


def router() -> Router:
    """Build the routes of the control plane."""
    routes = Router()
    _add_workspace(routes)
    _add_assets(routes)
    _add_endpoints(routes)
    _add_deployments(routes)
    _add_jobs(routes)
    return routes


def _add_workspace(routes: Router) -> None:
    routes.add("GET", "{W}", workspaces.get)
    routes.add("GET", "{W}/datastores", workspaces.list_datastores)
    routes.add("GET", "{W}/datastores/{name}", workspaces.get_datastore)
    routes.add("POST", "{W}/datastores/{name}/listSecrets", workspaces.list_secrets)
    routes.add("GET", "{W}/connections", connections.list_all)
    routes.add("GET", "{W}/connections/{name}", connections.get)
    routes.add("PUT", "{W}/connections/{name}", connections.put)
    routes.add("DELETE", "{W}/connections/{name}", connections.delete)
    routes.add("POST", "{W}/connections/{name}/listsecrets", connections.list_secrets)
    routes.add("GET", "{W}/providers/Microsoft.Authorization/permissions", workspaces.permissions)
    routes.add("GET", "{R}/providers/Microsoft.Authorization/permissions", workspaces.permissions)
    location = "/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices/locations/{location}"
    routes.add("GET", f"{location}/usages", usage.usages)
    routes.add("GET", f"{location}/vmSizes", usage.sizes)
    group = "/subscriptions/{subscription}/resourceGroups/{group}"
    account = f"{group}/providers/Microsoft.CognitiveServices/accounts/{{account}}"
    routes.add("GET", f"{account}/deployments/{{deployment}}", usage.model_deployment)
    routes.add("GET", f"{location}/mfeOperationsStatus/{{operation}}", polling.status)
    routes.add("GET", f"{location}/mfeOperationResults/{{operation}}", polling.result)


def _add_assets(routes: Router) -> None:
    for kind in assets.KINDS:
        add_versions(routes, f"{{W}}/{kind}", assets.put_version)
        routes.add("POST", f"{{W}}/{kind}/{{name}}/versions/{{version}}/startPendingUpload", assets.start_upload)


def add_versions(routes: Router, place: str, put: Handler) -> None:
    """Add the routes of one kind of asset: of a workspace, or of a registry, which keeps versions in another way.

    Args:
        routes: takes them.
        place: path of the assets of this kind.
        put: keeps a version.
    """
    one = f"{place}/{{name}}"
    routes.add("GET", place, assets.list_containers)
    routes.add("GET", one, assets.get_container)
    routes.add("GET", f"{one}/versions", assets.list_versions)
    routes.add("GET", f"{one}/versions/{{version}}", assets.get_version)
    routes.add("PUT", f"{one}/versions/{{version}}", put)
    routes.add("DELETE", f"{one}/versions/{{version}}", assets.delete_version)


def _add_endpoints(routes: Router) -> None:
    one = "{W}/onlineEndpoints/{endpoint}"
    routes.add("GET", "{W}/onlineEndpoints", endpoints.list_all)
    routes.add("GET", one, endpoints.get)
    routes.add("PUT", one, endpoints.put)
    routes.add("DELETE", one, endpoints.delete)
    routes.add("POST", f"{one}/listKeys", endpoints.list_keys)
    routes.add("POST", f"{one}/regenerateKeys", endpoints.regenerate_keys)
    routes.add("POST", f"{one}/token", endpoints.token)
    routes.add("GET", f"{one}/providers/Microsoft.Insights/metrics", insights.metrics)
    scaling = (
        "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Insights/autoscalesettings/{name}"
    )
    routes.add("PUT", scaling, insights.put_scaling)
    routes.add("GET", scaling, insights.get_scaling)
    routes.add("DELETE", scaling, insights.delete_scaling)


def _add_deployments(routes: Router) -> None:
    one = "{W}/onlineEndpoints/{endpoint}/deployments/{deployment}"
    routes.add("GET", "{W}/onlineEndpoints/{endpoint}/deployments", deployments.list_all)
    routes.add("GET", one, deployments.get)
    routes.add("PUT", one, deployments.put)
    routes.add("PATCH", one, deployments.patch)
    routes.add("DELETE", one, deployments.delete)
    routes.add("POST", f"{one}/getLogs", deployments.logs)


def _add_jobs(routes: Router) -> None:
    routes.add("GET", "{W}/jobs", jobs.list_all)
    routes.add("GET", "{W}/jobs/{job}", jobs.get)
    routes.add("PUT", "{W}/jobs/{job}", jobs.put)
    routes.add("POST", "{W}/jobs/{job}/cancel", jobs.cancel)
