"""Endpoints on this machine: a router and a serving process per deployment, under `.llmops/endpoints/`."""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from llmops.backends.local.serving import captured, request_log
from llmops.backends.local.serving.places import STATE, Places
from llmops.backends.local.serving.router_process import (
    RunningRouter,
    find_router,
    relieve_router,
    start_router,
    stop_router,
)
from llmops.backends.local.serving.settings import read_settings
from llmops.backends.local.serving.store import EndpointStore, KeyName, StoredDeployment, StoredEndpoint
from llmops.backends.packages import copy_package, verify_package
from llmops.backends.protocols import Answer, CapturedAnswer, DeploymentRequest
from llmops.config.connections import ResolvedConnection, expand_variables, reach_stand_in, resolve_connections
from llmops.config.model import Environment
from llmops.core.endpoint import Deployment, DeploymentStatus, Endpoint, Lease, Window, require_name, require_split
from llmops.engine.models import direct_values
from llmops.errors import DeadlineError, Problem, TransientError, UsageError

_TEXT_LIMIT = 2000
_ERROR = 400
_REMOVAL_S = 300.0
_REMINDER_S = 5.0
_NOT_RUNNING = "the endpoint is not running; `llmops endpoint start {}` starts it"


@dataclass(frozen=True)
class LocalEndpoints:
    """`Endpoints` on this machine.

    What is to be is in a SQLite file; the router follows it. A write finds the router, or starts it again, so that it
    holds for the next request when the method returns.

    Args:
        folder: `.llmops/endpoints`; made when something is written.
        environment: whose connections new and restarted deployments use.
        env: environment variables, for references.
    """

    folder: Path
    environment: Environment
    env: Mapping[str, str]
    now: Callable[[], float] = field(default=time.time)

    @cached_property
    def _store(self) -> EndpointStore:
        return EndpointStore(self.folder / STATE)

    def acquire_lease(self, endpoint: str, *, token: str, owner: str, link: str, duration_s: float) -> Lease:
        """See `Endpoints.acquire_lease`."""
        now = self.now()
        lease = Lease(endpoint=require_name(endpoint), token=token, owner=owner, link=link, expires_at=now + duration_s)
        return self._store.acquire_lease(lease, now=now)

    def renew_lease(self, lease: Lease, *, duration_s: float) -> Lease:
        """See `Endpoints.renew_lease`."""
        return self._store.renew_lease(lease, expires_at=self.now() + duration_s)

    def release_lease(self, lease: Lease) -> None:
        """See `Endpoints.release_lease`."""
        self._store.release_lease(lease)

    def read_lease(self, endpoint: str) -> Lease | None:
        """See `Endpoints.read_lease`."""
        lease = self._store.read_lease(endpoint)
        return lease if lease is not None and lease.expires_at > self.now() else None

    def list_endpoints(self) -> Sequence[str]:
        """See `Endpoints.list_endpoints`."""
        return self._store.names()

    def observe(self, endpoint: str) -> Endpoint | None:
        """See `Endpoints.observe`."""
        stored = self._store.find(endpoint)
        if stored is None:
            return None
        router = find_router(self.places(endpoint))
        described = router.call("status")["deployments"] if router else {}
        missing = "it is being started" if router else _NOT_RUNNING.format(endpoint)
        return Endpoint(
            name=endpoint,
            traffic=stored.traffic,
            mirror=stored.mirror,
            tags=stored.tags,
            deployments={
                name: _observed(one, described.get(name, {}), missing) for name, one in stored.deployments.items()
            },
        )

    def ensure_endpoint(self, endpoint: str, *, tags: Mapping[str, str]) -> None:
        """See `Endpoints.ensure_endpoint`."""
        self._store.ensure(require_name(endpoint), environment=self.environment.name, tags=tags)

    def update_endpoint(
        self,
        endpoint: str,
        *,
        traffic: Mapping[str, int] | None = None,
        mirror: Mapping[str, int] | None = None,
        tags: Mapping[str, str | None] | None = None,
    ) -> None:
        """See `Endpoints.update_endpoint`."""
        require_split(endpoint, traffic, mirror)
        self._store.update(endpoint, traffic=traffic, mirror=mirror, tags=tags)
        if traffic is not None or mirror is not None:
            self._tell(endpoint)

    def find_obstacles(self, endpoint: str, request: DeploymentRequest) -> Sequence[Problem]:
        """See `Endpoints.find_obstacles`; there are none that could be seen before."""
        del endpoint, request
        return ()

    def reach_stand_in(self, connections: Mapping[str, ResolvedConnection]) -> bool:
        """See `Endpoints.reach_stand_in`."""
        return reach_stand_in(connections)

    def create_deployment(self, endpoint: str, request: DeploymentRequest) -> None:
        """See `Endpoints.create_deployment`."""
        where = f"endpoint '{endpoint}', deployment '{require_name(request.name)}'"
        read_settings(request.settings, where)
        private = self._private(request.connections, request.environment_variables)
        stored = self.stored(endpoint).deployments.get(request.name)
        if stored is None:
            stored = self._add(endpoint, request)
        if stored.is_deleting:
            raise TransientError.of("a deployment of this name is being removed", where=where)
        if stored.digest != request.model.digest:
            raise UsageError.of(
                "a deployment of this name serves other content",
                where=where,
                found=f"{stored.model} version {stored.version}, {stored.digest}",
                expected=request.model.digest,
                fix="Choose another name.",
            )
        self._tell(endpoint, {request.name: private})

    def tag_deployment(self, endpoint: str, deployment: str, tags: Mapping[str, str | None]) -> None:
        """See `Endpoints.tag_deployment`."""
        self._store.tag_deployment(endpoint, deployment, tags)

    def delete_deployment(self, endpoint: str, deployment: str) -> None:
        """See `Endpoints.delete_deployment`."""
        stored = self._store.mark_deleting(endpoint, deployment)
        if stored is None:
            return
        started = told = time.monotonic()
        self._tell(endpoint)
        while deployment in self.stored(endpoint).deployments:
            if time.monotonic() > started + _REMOVAL_S:
                raise DeadlineError.of(
                    "the deployment is still being drained", where=f"endpoint '{endpoint}', deployment '{deployment}'"
                )
            if time.monotonic() > told + _REMINDER_S:
                told = time.monotonic()
                self._tell(endpoint)
            time.sleep(0.05)

    def score(
        self, endpoint: str, inputs: Mapping[str, Any], *, deployment: str | None = None, timeout_s: float = 60.0
    ) -> Answer:
        """See `Endpoints.score`."""
        stored = self.stored(endpoint)
        headers = {
            "authorization": f"Bearer {stored.keys['primary']}",
            "content-type": "application/json",
            "x-request-id": secrets.token_hex(16),
        }
        if deployment is not None:
            headers["azureml-model-deployment"] = deployment
        return _post(stored.port, json.dumps(dict(inputs)).encode(), headers, timeout_s)

    def measure(self, endpoint: str, *, start: float, end: float) -> Mapping[str, Window]:
        """See `Endpoints.measure`."""
        places = self.places(endpoint)
        router = find_router(places)
        pending = router.call("flush")["pending"] if router else {}
        return request_log.measure(places.requests, start=start, end=end, pending=pending, now=self.now())

    def read_captured(
        self, endpoint: str, *, start: float, end: float, limit: int
    ) -> Mapping[str, Sequence[CapturedAnswer]]:
        """See `Endpoints.read_captured`."""
        places = self.places(endpoint)
        router = find_router(places)
        if router is not None:
            router.call("flush")
        return captured.read(places.captured, start=start, end=end, limit=limit)

    def read_logs(self, endpoint: str, deployment: str, *, lines: int = 200) -> str:
        """See `Endpoints.read_logs`."""
        stored = self.stored(endpoint).deployments.get(deployment)
        return read_tail(self.places(endpoint).serving_log(stored.folder), lines) if stored else ""

    def places(self, endpoint: str) -> Places:
        """Return where an endpoint's files are."""
        return Places(self.folder / require_name(endpoint))

    def stored(self, endpoint: str) -> StoredEndpoint:
        """Return an endpoint as it is to be.

        Raises:
            UsageError: there is none.
        """
        found = self._store.find(endpoint)
        if found is None:
            known = ", ".join(f"'{name}'" for name in self.list_endpoints()) or "no endpoint exists yet"
            raise UsageError.of(f"no endpoint '{endpoint}'", expected=known, fix="`llmops deploy` makes one.")
        return found

    def start(self, endpoint: str, *, port: int = 0) -> RunningRouter:
        """Return the router of an endpoint; starts it with all its deployments when it does not run.

        Args:
            port: for a router that is started; 0 for the one that it had before, or any free one.

        Raises:
            UsageError: the endpoint belongs to another environment, or a connection cannot be resolved.
            BackendError: the router does not start.
        """
        places = self.places(endpoint)
        router = find_router(places)
        if router is None:
            private = self._private_of(self.stored(endpoint).deployments.values(), endpoint)
            return start_router(places, private=private, latency_ms=self.environment.stand_in.latency_ms, port=port)
        router = relieve_router(places, router, latency_ms=self.environment.stand_in.latency_ms)
        self._equip(router, endpoint)
        return router

    def stop(self, endpoint: str) -> bool:
        """Let the router answer what it has and end; what is to be served stays. Returns whether one was running."""
        places = self.places(endpoint)
        router = find_router(places)
        if router is None:
            return False
        stop_router(places, router)
        return True

    def rotate_key(self, endpoint: str, key: KeyName) -> str:
        """Replace one key at once; the other one goes on working. Returns the new one."""
        new = self._store.rotate_key(endpoint, key)
        router = find_router(self.places(endpoint))
        if router is not None:
            router.call("reload")
        return new

    def _tell(self, endpoint: str, private: Mapping[str, Any] | None = None) -> None:
        """Make the router follow the store; it runs afterwards if it did not before."""
        router = find_router(self.places(endpoint))
        if router is None:
            self.start(endpoint)
            return
        router = relieve_router(self.places(endpoint), router, latency_ms=self.environment.stand_in.latency_ms)
        router.call("reload", private or {})
        self._equip(router, endpoint)

    def _equip(self, router: RunningRouter, endpoint: str) -> None:
        """Give the router the connections that it lacks since it or a driver ended at a bad moment."""
        lacking = set(router.call("reload")["unequipped"])
        if lacking:
            deployments = self.stored(endpoint).deployments
            router.call("reload", self._private_of([deployments[name] for name in lacking], endpoint))

    def _private_of(self, deployments: Iterable[StoredDeployment], endpoint: str) -> Mapping[str, Any]:
        """Resolve what deployments need, from the environment that they were made in."""
        found = list(deployments)
        stored = self.stored(endpoint)
        if any(one.connections or one.environment_variables for one in found):
            self._require_environment(stored)
        names = sorted({name for one in found for name in one.connections})
        if missing := [name for name in names if name not in self.environment.connections]:
            raise UsageError.of(
                f"no connection '{missing[0]}'",
                where=f"environment '{self.environment.name}'",
                fix=f"The deployments of the endpoint '{endpoint}' need it.",
            )
        resolved = resolve_connections({name: self.environment.connections[name] for name in names}, self.env)
        return {
            one.name: self._private({name: resolved[name] for name in one.connections}, one.environment_variables)
            for one in found
        }

    def _require_environment(self, stored: StoredEndpoint) -> None:
        if stored.environment != self.environment.name:
            raise UsageError.of(
                f"the endpoint '{stored.name}' belongs to another environment",
                found=f"'{self.environment.name}'",
                expected=f"'{stored.environment}'",
            )

    def _private(
        self, connections: Mapping[str, ResolvedConnection], variables: Mapping[str, str]
    ) -> Mapping[str, Any]:
        real = {name: one for name, one in connections.items() if one.type != "stand_in"}
        values = direct_values(real)
        stand_ins = {name: {"type": "stand_in"} for name in connections if name not in real}
        return {
            "connections": {**values, **stand_ins},
            "environment_variables": dict(expand_variables(variables, self.env)),
        }

    def _add(self, endpoint: str, request: DeploymentRequest) -> StoredDeployment:
        """Copy the package and add the deployment to the store; whoever was first wins."""
        places = self.places(endpoint)
        folder = f"{request.name}.{secrets.token_hex(4)}"
        manifest = verify_package(request.package, digest=request.model.digest, manifest=request.model.manifest)
        copy_package(request.package, places.package(folder), manifest)
        wanted = StoredDeployment(
            name=request.name,
            model=request.model.name,
            version=request.model.version,
            digest=request.model.digest,
            folder=folder,
            connections=sorted(request.connections),
            environment_variables=request.environment_variables,
            settings=request.settings,
            capture_percent=request.capture_percent,
            tags=request.tags,
        )
        stored = self._store.add(endpoint, wanted)
        if stored.folder != folder:
            shutil.rmtree(places.deployment(folder), ignore_errors=True)
        return stored


def read_tail(path: Path, lines: int) -> str:
    """Return the last lines of a file; empty when there is none."""
    try:
        with path.open(encoding="utf-8", errors="replace") as handle:
            return "".join(deque(handle, maxlen=lines))
    except FileNotFoundError:
        return ""


def _observed(stored: StoredDeployment, described: Mapping[str, Any], missing: str) -> Deployment:
    status: DeploymentStatus = "deleting" if stored.is_deleting else described.get("status", "unhealthy")
    return Deployment(
        name=stored.name,
        model=stored.model,
        version=stored.version,
        digest=stored.digest,
        status=status,
        message=described.get("message", missing) if status != "healthy" else "",
        tags=stored.tags,
    )


def _post(port: int, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Answer:
    started = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        with contextlib.closing(connection):
            connection.request("POST", "/score", body, dict(headers))
            response = connection.getresponse()
            content = response.read()
    except (OSError, http.client.HTTPException) as error:
        return Answer(
            text=f"no answer: {str(error) or type(error).__name__}",
            status=0,
            duration_s=time.perf_counter() - started,
            request_id=headers["x-request-id"],
        )
    outputs = _json_object(content)
    return Answer(
        status=response.status,
        outputs=outputs,
        text=""
        if outputs is not None and response.status < _ERROR
        else content[:_TEXT_LIMIT].decode("utf-8", "replace"),
        deployment=response.headers.get("azureml-model-deployment", ""),
        duration_s=time.perf_counter() - started,
        request_id=response.headers.get("x-request-id", headers["x-request-id"]),
    )


def _json_object(content: bytes) -> Mapping[str, Any] | None:
    try:
        value = json.loads(content)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
