"""One endpoint as it is served: follows the store, keeps the deployments, the stand-in model and the request log."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from llmops.backends.local.serving import captured, request_log
from llmops.backends.local.serving.captured import Captured
from llmops.backends.local.serving.interpreter import find_python
from llmops.backends.local.serving.places import Places
from llmops.backends.local.serving.request_log import LoggedRequest
from llmops.backends.local.serving.served_deployment import ServedDeployment
from llmops.backends.local.serving.serving_process import (
    INSTALLED,
    FlowRefusedError,
    ServingCode,
    ServingSpec,
    copy_code,
)
from llmops.backends.local.serving.settings import read_settings
from llmops.backends.local.serving.split import Sample, Split
from llmops.backends.local.serving.store import EndpointStore, StoredDeployment, StoredEndpoint
from llmops.backends.packages import copy_package, verify_package
from llmops.engine.models import STAND_IN_KEY
from llmops.engine.standin.process import StandInProcess
from llmops.errors import BackendError, DeadlineError, TransientError, UsageError

_log = logging.getLogger(__name__)
_FLUSH_S = 0.25
_DRAIN_S = 600.0
STAND_IN = "stand_in"


@dataclass(frozen=True, kw_only=True)
class Private:
    """What a deployment needs and no file may hold.

    Attributes:
        connections: name to `{type, configs, secrets}`; a stand-in's has the type only.
        environment_variables: with references resolved.
    """

    connections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    environment_variables: Mapping[str, str] = field(default_factory=dict)


class Pending(Protocol):
    """A live request, or a copy of one, that has no answer yet."""

    deployment: str
    came_at: float


class Runtime:
    """What the router works with; lives in one event loop.

    Args:
        store: what is to be.
        private: deployment to what reached this process by its pipe; more comes with `reload`.
        latency_ms: of the stand-in model.

    Attributes:
        pending: requests on their way; the router adds and takes away.
    """

    def __init__(
        self, name: str, places: Places, store: EndpointStore, private: Mapping[str, Private], latency_ms: float
    ) -> None:
        self.places = places
        self.deployments: dict[str, ServedDeployment] = {}
        self.endpoint = _require(store, name)
        self.split = Split(self.endpoint.traffic)
        self.mirror: tuple[str, Sample] | None = None
        self.pending: set[Pending] = set()
        self._store = store
        self._private = dict(private)
        self._latency_ms = latency_ms
        self._stand_in: StandInProcess | None = None
        self._removals: dict[str, asyncio.Task[None]] = {}
        self._logged: list[LoggedRequest] = []
        self._captured: list[Captured] = []
        self._flusher: asyncio.Task[None] | None = None
        self._flushing = asyncio.Lock()
        self._code = INSTALLED
        self._reloading = asyncio.Lock()
        self._starting_model = asyncio.Lock()

    async def start(self) -> None:
        """Begin to serve what the store says."""
        self._code = await asyncio.to_thread(self._lay_out_code)
        self._flusher = asyncio.ensure_future(self._flush_for_ever())
        await self.reload({})

    async def reload(self, private: Mapping[str, Private]) -> None:
        """Follow the store: the new split holds for the next request, in one step."""
        async with self._reloading:
            self._private.update(private)
            before = self.endpoint
            after = await asyncio.to_thread(_require, self._store, before.name)
            for name, wanted in after.deployments.items():
                if wanted.is_deleting:
                    self._remove(name, wanted)
                elif name not in self.deployments and self._is_equipped(wanted):
                    self._add(name, wanted)
            self.endpoint = after
            if after.traffic != before.traffic:
                self.split = Split(after.traffic)
            if after.mirror != before.mirror or self.mirror is None:
                self.mirror = next(((name, Sample(percent)) for name, percent in after.mirror.items()), None)

    def private_values(self) -> Mapping[str, Any]:
        """Return what reached this process about each deployment, as `private_from_json` reads it."""
        return {
            name: {
                "connections": {key: dict(value) for key, value in one.connections.items()},
                "environment_variables": dict(one.environment_variables),
            }
            for name, one in self._private.items()
        }

    def unequipped(self) -> list[str]:
        """Name the deployments that wait for values of connections that this process was never given."""
        return [one.name for one in self.endpoint.deployments.values() if not self._is_equipped(one)]

    async def describe(self, name: str) -> Mapping[str, Any]:
        """Say how a deployment is at this moment."""
        wanted = self.endpoint.deployments[name]
        served = self.deployments.get(name)
        if served is None:
            message = "" if wanted.is_deleting else _UNEQUIPPED
            return {"status": "deleting" if wanted.is_deleting else "unhealthy", "message": message}
        status = await served.status()
        facts = {"pid": served.pid, "in_flight": served.in_flight, "queued": served.queued}
        return {"status": status, "message": served.message, "restarts": served.restarts, **facts}

    def log(self, request: LoggedRequest) -> None:
        """Remember what became of a request."""
        self._logged.append(request)

    def capture(self, answer: Captured) -> None:
        """Remember a live request with its answer; the caller knows that there is consent."""
        self._captured.append(answer)

    async def flush(self) -> Mapping[str, Sequence[float]]:
        """Write what is remembered.

        Returns:
            Deployment to when each request came that had no answer at that moment: it is written or in here, not both.
        """
        async with self._flushing:
            waiting: dict[str, list[float]] = {}
            for request in self.pending:
                waiting.setdefault(request.deployment, []).append(request.came_at)
            batch, self._logged = self._logged, []
            answers, self._captured = self._captured, []
            try:
                if batch:
                    await asyncio.to_thread(request_log.append, self.places.requests, batch)
                    batch = []
                if answers:
                    await asyncio.to_thread(captured.append, self.places.captured, answers, now=time.time())
            except sqlite3.OperationalError:
                self._logged[:0] = batch
                raise
        return waiting

    async def stop(self) -> None:
        """End every process."""
        for task in self._removals.values():
            task.cancel()
        await asyncio.gather(*self._removals.values(), return_exceptions=True)
        await asyncio.gather(*(one.stop() for one in self.deployments.values()))
        if self._flusher is not None:
            self._flusher.cancel()
        await self.flush()
        if self._stand_in is not None:
            await asyncio.to_thread(self._stand_in.close)
        await asyncio.to_thread(self._remove_own)

    def _lay_out_code(self) -> ServingCode:
        for path in self.places.leavings():
            shutil.rmtree(path, ignore_errors=True)
        return copy_code(self.places.code(os.getpid()))

    def _remove_own(self) -> None:
        own = [self.places.run(one.folder, os.getpid()) for one in self.endpoint.deployments.values()]
        for path in [self.places.code(os.getpid()), *own]:
            shutil.rmtree(path, ignore_errors=True)

    def _is_equipped(self, deployment: StoredDeployment) -> bool:
        needs = bool(deployment.connections or deployment.environment_variables)
        return not needs or deployment.is_deleting or deployment.name in self._private

    def _add(self, name: str, wanted: StoredDeployment) -> None:
        log = self.places.serving_log(wanted.folder)
        deployment = ServedDeployment(
            name=name,
            capture=Sample(wanted.capture_percent),
            settings=read_settings(wanted.settings, name),
            log=log,
            build_spec=lambda: self._build_spec(wanted),
            has_served=(log.parent / _SERVED).exists(),
            on_healthy=(log.parent / _SERVED).touch,
        )
        self.deployments[name] = deployment
        deployment.start()

    def _remove(self, name: str, wanted: StoredDeployment) -> None:
        if name not in self._removals:
            self._removals[name] = asyncio.ensure_future(self._drain_and_remove(name, wanted))

    async def _drain_and_remove(self, name: str, wanted: StoredDeployment) -> None:
        deployment = self.deployments.pop(name, None)
        try:
            if deployment is not None:
                await deployment.drain(timeout_s=min(_DRAIN_S, deployment.settings.request_timeout_s))
                await deployment.stop()
            await asyncio.to_thread(shutil.rmtree, self.places.deployment(wanted.folder), ignore_errors=True)
            await asyncio.to_thread(captured.forget, self.places.captured, name)
            await asyncio.to_thread(self._store.remove, self.endpoint.name, name)
            self._private.pop(name, None)
        except (TransientError, sqlite3.OperationalError) as error:
            _log.warning("the deployment %s is not removed yet: %s", name, error)
        finally:
            self._removals.pop(name, None)  # what is left is tried again with the next reload

    async def _build_spec(self, wanted: StoredDeployment) -> ServingSpec:
        private = self._private.get(wanted.name, Private())
        connections = {name: await self._connection(value) for name, value in private.connections.items()}
        secrets = [text for value in connections.values() for text in value["secrets"].values() if text != STAND_IN_KEY]
        try:
            return await asyncio.to_thread(self._lay_out, wanted, connections, private.environment_variables, secrets)
        except (UsageError, BackendError, OSError) as error:
            raise FlowRefusedError(str(error)) from error

    def _lay_out(
        self, wanted: StoredDeployment, connections: Mapping[str, Any], variables: Mapping[str, str], secrets: list[str]
    ) -> ServingSpec:
        """Judge the deployment's package once more and copy it to a fresh folder to run in."""
        package, run = self.places.package(wanted.folder), self.places.run(wanted.folder, os.getpid())
        manifest = verify_package(package, digest=wanted.digest)
        shutil.rmtree(run, ignore_errors=True)
        copy_package(package, run, manifest)
        project = run / manifest.project
        settings = read_settings(wanted.settings, wanted.name)
        folder = project / manifest.folder
        return ServingSpec(
            code=self._code,
            kind=manifest.flow_kind,
            folder=folder,
            flow_file=manifest.definition,
            entry=manifest.entry,
            threads=settings.max_concurrent_requests,
            paths=list(dict.fromkeys([folder, *(project / root for root in manifest.import_roots)])),
            python=find_python(manifest, run, settings, self.places.state),
            init=manifest.flow.init,
            variants=manifest.flow.variants,
            nodes=manifest.flow.nodes,
            connections=connections,
            environment_variables=variables,
            secrets=secrets,
        )

    async def _connection(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        if value["type"] != STAND_IN:
            return value
        async with self._starting_model:
            base_url = await asyncio.to_thread(self._stand_in_address)
        return {"type": "open_ai", "configs": {"base_url": base_url}, "secrets": {"api_key": STAND_IN_KEY}}

    def _stand_in_address(self) -> str:
        if self._stand_in is None:
            try:
                self._stand_in = StandInProcess(latency_ms=self._latency_ms)
            except (BackendError, DeadlineError) as error:
                raise FlowRefusedError(str(error)) from error
        return self._stand_in.base_url

    async def _flush_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_S)
            try:
                await self.flush()
            except sqlite3.OperationalError as error:
                _log.warning("requests are not written down: %s", error)


_SERVED = "has-served"
"""Marks the folder of a deployment that was healthy once."""
_UNEQUIPPED = "the values of its connections are missing since a restart; `llmops endpoint start` brings them again"


def _require(store: EndpointStore, name: str) -> StoredEndpoint:
    found = store.find(name)
    if found is None:
        raise UsageError.of(f"no endpoint '{name}'")
    return found


def private_from_json(document: Mapping[str, Any]) -> dict[str, Private]:
    """Read what came over the pipe or with a reload: deployment to its private values."""
    return {
        name: Private(connections=value["connections"], environment_variables=value["environment_variables"])
        for name, value in document.items()
    }
