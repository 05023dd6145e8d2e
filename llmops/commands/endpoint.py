"""`llmops endpoint`: start, stop and look at the endpoints that serve on this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone

from llmops.backends.local.endpoints import LocalEndpoints, read_tail
from llmops.backends.local.serving.request_log import LoggedRequest, tail
from llmops.backends.local.serving.router_process import RunningRouter, find_router
from llmops.backends.local.serving.store import KeyName, StoredEndpoint
from llmops.commands.context import Context
from llmops.config.load import find_root, load_project
from llmops.config.model import Environment, Project
from llmops.core.documents import to_json
from llmops.core.endpoint import Endpoint
from llmops.errors import ExitCode, UsageError


def start(*, context: Context, endpoint: str, port: int, json_output: bool) -> int:
    """Start an endpoint with all its deployments, or find it when it runs.

    Args:
        port: for one that is started; 0 for the one it had before, or any free one.
    """
    router = _open(context, endpoint).start(endpoint, port=port)
    found = {"endpoint": endpoint, "address": router.address, "pid": router.pid}
    context.write(json.dumps(found) if json_output else f"{endpoint} serves at {router.address}/score")
    return ExitCode.PASS


def stop(*, context: Context, endpoint: str) -> int:
    """Answer what is in flight, then end the endpoint's processes; what it serves is kept for the next start."""
    was_running = _open(context, endpoint).stop(endpoint)
    context.write(f"{endpoint} is stopped" if was_running else f"{endpoint} was not running")
    return ExitCode.PASS


def status(*, context: Context, endpoint: str | None, json_output: bool) -> int:
    """Say of one endpoint or of all where it listens and how its deployments are."""
    project = load_project(find_root(context.folder))
    names = [endpoint] if endpoint else _endpoints(context, project, None).list_endpoints()
    described = [_describe(_open(context, name), name) for name in names]
    if json_output:
        context.write(json.dumps({"endpoints": [one for one, _ in described]}, indent=2))
    else:
        context.write("\n".join(text for _, text in described) or "no endpoint on this machine")
    return ExitCode.PASS


def logs(*, context: Context, endpoint: str, deployment: str | None, lines: int, requests: bool) -> int:
    """Print what a deployment wrote, or the router; or one line for each of the last requests."""
    endpoints = _open(context, endpoint)
    places = endpoints.places(endpoint)
    if requests:
        endpoints.measure(endpoint, start=0, end=0)  # the router writes what it still holds
        shown = [one for one in tail(places.requests, count=lines) if deployment in (None, one.deployment)]
        context.write("\n".join(map(_say_request, shown)))
    elif deployment is None:
        context.write(read_tail(places.log, lines))
    else:
        known = endpoints.stored(endpoint).deployments
        if deployment not in known:
            expected = ", ".join(f"'{name}'" for name in known) or "no deployment exists yet"
            raise UsageError.of(f"no deployment '{deployment}'", where=f"endpoint '{endpoint}'", expected=expected)
        context.write(endpoints.read_logs(endpoint, deployment, lines=lines))
    return ExitCode.PASS


def keys(*, context: Context, endpoint: str, rotate: KeyName | None, json_output: bool) -> int:
    """Print the keys of an endpoint, after replacing one of them if asked to."""
    endpoints = _open(context, endpoint)
    if rotate is not None:
        endpoints.rotate_key(endpoint, rotate)
    found = endpoints.stored(endpoint).keys
    text = "\n".join(f"{name}: {key}" for name, key in found.items())
    context.write(json.dumps(dict(found)) if json_output else text)
    return ExitCode.PASS


def _open(context: Context, endpoint: str) -> LocalEndpoints:
    """Open the endpoints of the environment that made one.

    Raises:
        UsageError: there is no such endpoint on this machine.
    """
    project = load_project(find_root(context.folder))
    stored = _endpoints(context, project, None).stored(endpoint)
    return _endpoints(context, project, stored)


def _endpoints(context: Context, project: Project, stored: StoredEndpoint | None) -> LocalEndpoints:
    name = stored.environment if stored else ""
    environment = project.environments.get(name, Environment(name=name))
    return LocalEndpoints(project.state / "endpoints", environment, context.env)


def _describe(endpoints: LocalEndpoints, name: str) -> tuple[dict[str, object], str]:
    """Return an endpoint as JSON values and as text."""
    stored = endpoints.stored(name)
    router = find_router(endpoints.places(name))
    observed = endpoints.observe(name) or Endpoint(name=name)
    document = {
        "endpoint": name,
        "environment": stored.environment,
        "address": router.address if router else "",
        "pid": router.pid if router else None,
        **{key: value for key, value in to_json(observed).items() if key != "name"},
    }
    return document, "\n".join(_say_endpoint(observed, stored, router))


def _say_endpoint(observed: Endpoint, stored: StoredEndpoint, router: RunningRouter | None) -> Sequence[str]:
    where = (
        f"{router.address}, process {router.pid}"
        if router
        else f"stopped; start it: llmops endpoint start {observed.name}"
    )
    lines = [f"{observed.name} ({stored.environment}): {where}"]
    for one in observed.deployments.values():
        share = f"{observed.traffic.get(one.name, 0):3} %"
        mirror = f", mirrors {observed.mirror[one.name]} %" if one.name in observed.mirror else ""
        message = f": {one.message}" if one.message else ""
        lines.append(f"  {share}  {one.name}  {one.model} version {one.version}  {one.status}{mirror}{message}")
    return lines


def _say_request(request: LoggedRequest) -> str:
    at = datetime.fromtimestamp(request.ended_at, timezone.utc).isoformat(timespec="milliseconds")
    status_text = str(request.status) if request.status else "given up"
    return f"{at} {request.id} {request.deployment} {request.kind} {status_text} {request.duration_s:.3f} s"
