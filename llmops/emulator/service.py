"""Every request's way: its number, its fault, who it is from, what answers it, the record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from llmops.emulator import arm, blob_front, data_plane, scoring
from llmops.emulator.cloud import Call, Cloud, Registry, Workspace
from llmops.emulator.errors import RefusalError
from llmops.emulator.faults import Fault
from llmops.emulator.routing import Router
from llmops.emulator.wire import DropConnectionError, Request, Response, json_response, refusal_response

MANAGEMENT = ("https://management.azure.com", "https://management.core.windows.net", "https://ml.azure.com")
_HOSTS = {"management.azure.com": "arm", "login.microsoftonline.com": "tokens", "login.microsoft.com": "tokens"}
_SUFFIXES = {
    ".api.azureml.ms": "data",
    ".experiments.azureml.net": "data",
    ".inference.ml.azure.com": "scoring",
    blob_front.SUFFIX: "blobs",
}
_DATA_PLANE = frozenset(
    {"flow", "history", "metric", "index", "data", "content", "discovery", "registrymanagement", "mferp"}
)


def service_of(host: str) -> str | None:
    """Tell which service a host belongs to; None for a host that is not on the list."""
    name = host.rpartition(":")[0] or host
    if name in _HOSTS:
        return _HOSTS[name]
    return next((service for suffix, service in _SUFFIXES.items() if name.endswith(suffix)), None)


def _direct_service(path: str) -> str:
    """Tell the service of a request to the emulator's own address, for a cloud of one's own."""
    first = path.strip("/").partition("/")[0].lower()
    if first in {"subscriptions", "providers"}:
        return "arm"
    if first in _DATA_PLANE:
        return "data"
    if first.endswith(blob_front.SUFFIX):
        return "blobs"
    return "scoring" if first == "inference" else "tokens"


@dataclass
class Service:
    """Answers requests to all emulated hosts."""

    cloud: Cloud
    routers: Mapping[str, Router] = field(default_factory=lambda: {"arm": arm.router(), "data": data_plane.router()})

    def answer(self, request: Request) -> Response:
        """Answer one request.

        Raises:
            DropConnectionError: a fault ends the connection.
        """
        started = time.perf_counter()
        service = service_of(request.host) or _direct_service(request.path)
        fault = self.cloud.faults.for_request(request)
        response: Response | None = None
        try:
            response = self._with_fault(service, request, fault)
        finally:
            effect = fault.effect if fault else ""
            self.cloud.journal.add(request, service, response, effect, time.perf_counter() - started)
        return response

    def _with_fault(self, service: str, request: Request, fault: Fault | None) -> Response:
        if fault is None:
            return self._respond(service, request)
        time.sleep(fault.delay_s)
        if fault.effect in {"reset", "hang"}:
            raise DropConnectionError
        if fault.effect in {"answer", "deny"}:
            return refusal_response(fault.refusal(request))
        response = self._respond(service, request)
        if fault.effect == "lose_answer":
            raise DropConnectionError
        return response

    def _respond(self, service: str, request: Request) -> Response:
        answers: Mapping[str, Callable[[Request], Response]] = {
            "tokens": self.cloud.tokens.answer,
            "blobs": lambda sent: blob_front.answer(self.cloud.blobs, sent),
            "scoring": lambda sent: scoring.answer(self.cloud, sent),
        }
        try:
            if service in answers:
                return answers[service](request)
            return self._discover(request) or self._route(self.routers[service], request)
        except RefusalError as refusal:
            return refusal_response(refusal)

    def _discover(self, request: Request) -> Response | None:
        """Tell the addresses of the data plane, which anybody may ask for; None for every other request."""
        if request.path.rstrip("/").lower() != "/discovery":
            return None
        base = f"https://{request.host}"
        return json_response({"api": base, "history": base, "metrics": base, "catalog": base, "studio": base})

    def _route(self, router: Router, request: Request) -> Response:
        # In a cloud of one's own, the emulator's address is the resource that tokens are for.
        audiences = (*MANAGEMENT, f"https://{request.host}")
        caller: Mapping[str, Any] = self.cloud.tokens.claims(request.headers.get("authorization", ""), audiences)
        handler, names = router.find(request)
        workspace = Workspace(
            subscription=names.get("subscription", ""),
            resource_group=names.get("group", ""),
            name=names.get("workspace", ""),
        )
        if workspace.name:
            self.cloud.open_workspace(workspace)
        call = Call(cloud=self.cloud, request=request, workspace=workspace, names=names, caller=caller)
        if "registry" in names:
            call = replace(call, registry=self._open_registry(names))
        return handler(call)

    def _open_registry(self, names: Mapping[str, str]) -> Registry:
        """Find the registry of a request; whoever looks for it does not know yet where it is."""
        registry = Registry(name=names["registry"])
        if "subscription" in names:
            registry = replace(registry, subscription=names["subscription"], resource_group=names["group"])
        self.cloud.open_registry(registry)
        return registry
