"""What the data plane answers to."""

from __future__ import annotations

from llmops.emulator.arm.routes import add_versions
from llmops.emulator.data_plane import history, registries, submissions
from llmops.emulator.routing import Router


def router() -> Router:
    """Build the routes of the data plane."""
    routes = Router()
    flow, run = "/flow/api{W}", "/flow/api{W}/BulkRuns/{run}"
    routes.add("GET", f"{flow}/TraceSessions", submissions.trace_session)
    routes.add("POST", f"{flow}/BulkRuns/submit", submissions.submit)
    routes.add("GET", run, submissions.info)
    routes.add("GET", f"{run}/logContent", submissions.log)
    routes.add("GET", f"{run}/childRuns", submissions.child_runs)
    routes.add("POST", f"{run}/cancel", submissions.cancel)
    routes.add("GET", f"{flow}/Connections", submissions.list_connections)
    routes.add("GET", f"{flow}/Connections/{{name}}", submissions.get_connection)
    routes.add("POST", "/history/v1.0{W}/rundata", history.run_data)
    routes.add("PATCH", "/history/v1.0{W}/runs/{run}/modify", history.modify)
    routes.add("GET", "/history/v1.0{W}/runs/{run}/details", history.job_details)
    routes.add("POST", "/metric/v2.0{W}/runs/{run}/lastvalues", history.last_values)
    routes.add("POST", "/index/v1.0{W}/entities", history.entities)
    routes.add("POST", "/data/v1.0{W}/dataversion/getByAssetId", history.asset_path)
    routes.add("POST", "/content/v2.0{W}/snapshots/sas", history.snapshot)
    _add_registries(routes)
    return routes


def _add_registries(routes: Router) -> None:
    routes.add("GET", "/registrymanagement/v1.0/registries/{registry}/discovery", registries.discover)
    for kind in registries.KINDS:
        add_versions(routes, f"{{F}}{{R}}/{kind}", registries.put_version)
    routes.add("PUT", "{F}{R}/tempdatarefs/{name}/versions/{version}", registries.start_upload)
    routes.add("POST", "{F}{R}/datarefs/{name}/versions/{version}", registries.sign_download)
    location = "/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices/locations/{location}"
    routes.add("GET", f"{{F}}{location}/mfeOperationResults/{{operation}}", registries.result)
