"""Managed online endpoints of an Azure Machine Learning workspace."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from llmops.backends.azure import resources, scoring_code
from llmops.backends.azure.arm import Arm, Document, operation_of, state_of
from llmops.backends.azure.blobs import Blobs
from llmops.backends.azure.diagnosis import diagnose
from llmops.backends.azure.injection import with_injection
from llmops.backends.azure.lease import Leases
from llmops.backends.azure.metrics import measure
from llmops.backends.azure.models import WorkspaceModels
from llmops.backends.azure.place import Place
from llmops.backends.azure.preflight import Preflight
from llmops.backends.azure.refusals import NotThereError, RefusedError
from llmops.backends.azure.scoring import Scorer
from llmops.backends.azure.serving import AzureServing, read_serving
from llmops.backends.azure.staging import folder_name
from llmops.backends.packages import MANIFEST
from llmops.backends.protocols import Answer, CapturedAnswer, DeploymentRequest
from llmops.config.connections import ResolvedConnection, expand_variables
from llmops.config.model import Environment
from llmops.core.endpoint import Deployment, DeploymentStatus, Endpoint, Lease, Window, require_name, require_split
from llmops.errors import BackendError, Problem, TransientError, UsageError
from llmops.records import read_record
from llmops.releases import Manifest

T = TypeVar("T")

WORKSPACE_VERSION = "2024-10-01-preview"
AUTOSCALE_VERSION = "2022-10-01"
_MIRROR_LIMIT = 50
_STATUSES: Mapping[str, DeploymentStatus] = {
    "Succeeded": "healthy",
    "Failed": "failed",
    "Canceled": "failed",
    "Deleting": "deleting",
}
_LOG_LINES = 200


@dataclass(frozen=True)
class AzureEndpoints:
    """`Endpoints` of a workspace.

    `healthy` means that Azure's own health checks let the deployment become ready; Azure starts again what dies later.

    Args:
        arm: of the workspace.
        blobs: of its default datastore.
        place: keeps the models.
        environment: whose settings new endpoints get.
        env: environment variables, for references.
    """

    arm: Arm
    blobs: Blobs
    place: Place
    environment: Environment
    env: Mapping[str, str]
    _reasons: dict[str, str] = field(default_factory=dict)

    @cached_property
    def _leases(self) -> Leases:
        return Leases(self.blobs)

    @cached_property
    def _scorer(self) -> Scorer:
        return Scorer(self.arm)

    @cached_property
    def _location(self) -> str:
        what = f"open the workspace '{self.arm.session.settings.workspace}'"
        found = self.arm.send("GET", self.arm.path(""), version=WORKSPACE_VERSION, what=what).body
        return str(found["location"])

    def close(self) -> None:
        """Close the connections to endpoints."""
        self._scorer.close()

    def acquire_lease(self, endpoint: str, *, token: str, owner: str, link: str, duration_s: float) -> Lease:
        """See `Endpoints.acquire_lease`."""
        return self._leases.acquire(require_name(endpoint), token=token, owner=owner, link=link, duration_s=duration_s)

    def renew_lease(self, lease: Lease, *, duration_s: float) -> Lease:
        """See `Endpoints.renew_lease`."""
        return self._leases.renew(lease, duration_s=duration_s)

    def release_lease(self, lease: Lease) -> None:
        """See `Endpoints.release_lease`."""
        self._leases.release(lease)

    def read_lease(self, endpoint: str) -> Lease | None:
        """See `Endpoints.read_lease`."""
        return self._leases.read(endpoint)

    def list_endpoints(self) -> Sequence[str]:
        """See `Endpoints.list_endpoints`."""
        path = self.arm.path("onlineEndpoints")
        found = self.arm.list(path, version=resources.ENDPOINT_VERSION, what="list the endpoints")
        return sorted(one["name"] for one in found)

    def observe(self, endpoint: str) -> Endpoint | None:
        """See `Endpoints.observe`."""
        found = self._find(endpoint)
        if found is None or state_of(found) == "Deleting":
            return None
        path = f"{self._path(endpoint)}/deployments"
        what = f"list the deployments of '{endpoint}'"
        listed = self.arm.list(path, version=resources.DEPLOYMENT_VERSION, what=what)
        properties = found["properties"]
        return Endpoint(
            name=endpoint,
            traffic=_shares(properties.get("traffic")),
            mirror=_shares(properties.get("mirrorTraffic")),
            tags=_tags(found),
            deployments={one["name"]: self._observed(endpoint, one) for one in listed},
        )

    def ensure_endpoint(self, endpoint: str, *, tags: Mapping[str, str]) -> None:
        """See `Endpoints.ensure_endpoint`.

        Raises:
            BackendError: the name is taken in this region, or a role or quota is missing.
        """
        require_name(endpoint)
        found = self._find(endpoint)
        if found is not None and state_of(found) not in ("Failed", "Canceled", "Deleting"):
            self._settle(endpoint, f"create the endpoint '{endpoint}'")
            return
        serving = self._serving()
        body = resources.new_endpoint(serving, location=self._location, tags=tags)
        self._put_endpoint(endpoint, body, f"create the endpoint '{endpoint}'")

    def update_endpoint(
        self,
        endpoint: str,
        *,
        traffic: Mapping[str, int] | None = None,
        mirror: Mapping[str, int] | None = None,
        tags: Mapping[str, str | None] | None = None,
    ) -> None:
        """See `Endpoints.update_endpoint`."""
        require_split(endpoint, traffic, mirror, most=_MIRROR_LIMIT)
        found = self._require(endpoint)
        if traffic or mirror:
            self._require_deployments(endpoint, {**(traffic or {}), **(mirror or {})})
        body = resources.changed_endpoint(found, traffic=traffic, mirror=mirror, tags=tags or {})
        self._put_endpoint(endpoint, body, f"update the endpoint '{endpoint}'")

    def find_obstacles(self, endpoint: str, request: DeploymentRequest) -> Sequence[Problem]:
        """See `Endpoints.find_obstacles`; nothing is looked at when this content serves already."""
        require_name(endpoint)
        serving = read_serving(request.settings, f"endpoint '{endpoint}'")
        observed = self.observe(endpoint)
        there = observed.deployments.values() if observed else ()
        if any(one.digest == request.model.digest and one.status in ("healthy", "creating") for one in there):
            return ()
        return Preflight(self.arm, self._location, serving).find(request)

    def reach_stand_in(self, connections: Mapping[str, ResolvedConnection]) -> bool:
        """See `Endpoints.reach_stand_in`; the workspace knows it of its connections."""
        return WorkspaceModels(self.arm).reach_stand_in(connections)

    def create_deployment(self, endpoint: str, request: DeploymentRequest) -> None:
        """See `Endpoints.create_deployment`.

        Raises:
            BackendError: Azure refuses, with the likely cause and what to do.
        """
        where = f"endpoint '{endpoint}', deployment '{require_name(request.name)}'"
        serving = read_serving(request.settings, where)
        path = self._path(endpoint, request.name)
        found = self._deployment(endpoint, request.name)
        if found is None:
            body = self._describe(endpoint, request, serving)
            self._start(path, body, where)
        else:
            _require_same_content(found, request, where)
        if serving.autoscale:
            self._scale(endpoint, request.name, serving)

    def tag_deployment(self, endpoint: str, deployment: str, tags: Mapping[str, str | None]) -> None:
        """See `Endpoints.tag_deployment`."""
        where, path = f"endpoint '{endpoint}'", self._path(endpoint, deployment)
        found = self._deployment(endpoint, deployment)
        if found is None:
            raise UsageError.of(f"no deployment '{deployment}'", where=where)
        # Whether Azure merges these tags or replaces all of them is not known: all are sent, and one that is to go is
        # sent empty, which is how `_tags` reads it.
        merged = {**(found.get("tags") or {}), **{name: value or "" for name, value in tags.items()}}
        what = f"tag the deployment '{deployment}' of '{endpoint}'"
        version = resources.DEPLOYMENT_VERSION
        reply = self.arm.send("PATCH", path, version=version, what=what, body={"tags": merged})
        self.arm.settle(path, version=version, what=what, reply=reply, timeout_s=self._serving().deadline_s)

    def delete_deployment(self, endpoint: str, deployment: str) -> None:
        """See `Endpoints.delete_deployment`."""
        found = self._find(endpoint)
        if found is None:
            return
        for kind, name in (("traffic", "traffic"), ("mirror", "mirrorTraffic")):
            if share := _shares(found["properties"].get(name)).get(deployment):
                raise UsageError.of(
                    f"the deployment has {share} percent of the {kind}",
                    where=f"endpoint '{endpoint}', deployment '{deployment}'",
                    fix="Move it to another deployment first.",
                )
        if self._deployment(endpoint, deployment) is None:
            return
        self._unscale(endpoint, deployment)
        path, version = self._path(endpoint, deployment), resources.DEPLOYMENT_VERSION
        what = f"delete the deployment '{deployment}' of '{endpoint}'"
        try:
            reply = self.arm.send("DELETE", path, version=version, what=what)
        except NotThereError:
            return
        self.arm.wait(path, version=version, what=what, reply=reply, timeout_s=self._serving().deadline_s)

    def score(
        self, endpoint: str, inputs: Mapping[str, Any], *, deployment: str | None = None, timeout_s: float = 60.0
    ) -> Answer:
        """See `Endpoints.score`."""
        return self._scorer.score(endpoint, inputs, deployment=deployment, timeout_s=timeout_s)

    def measure(self, endpoint: str, *, start: float, end: float) -> Mapping[str, Window]:
        """See `Endpoints.measure`; by whole minutes, and some minutes late."""
        return measure(self.arm, endpoint, start=start, end=end)

    def read_captured(
        self, endpoint: str, *, start: float, end: float, limit: int
    ) -> Mapping[str, Sequence[CapturedAnswer]]:
        """See `Endpoints.read_captured`; what the data collector keeps comes too late for a rollout to wait for."""
        del endpoint, start, end, limit
        return {}

    def read_logs(self, endpoint: str, deployment: str, *, lines: int = 200) -> str:
        """See `Endpoints.read_logs`."""
        return self._log(endpoint, deployment, "InferenceServer", lines)

    def _path(self, endpoint: str, deployment: str = "") -> str:
        rest = f"onlineEndpoints/{endpoint}"
        return self.arm.path(f"{rest}/deployments/{deployment}" if deployment else rest)

    def _serving(self) -> AzureServing:
        return read_serving(self.environment.serving, f"environment '{self.environment.name}'")

    def _find(self, endpoint: str) -> Document | None:
        what = f"read the endpoint '{endpoint}'"
        return self.arm.get(self._path(endpoint), version=resources.ENDPOINT_VERSION, what=what)

    def _require(self, endpoint: str) -> Document:
        found = self._find(endpoint)
        if found is None:
            known = ", ".join(f"'{name}'" for name in self.list_endpoints()) or "no endpoint exists yet"
            raise UsageError.of(f"no endpoint '{endpoint}'", expected=known, fix="`llmops deploy` makes one.")
        return found

    def _deployment(self, endpoint: str, deployment: str) -> Document | None:
        what = f"read the deployment '{deployment}' of '{endpoint}'"
        return self.arm.get(self._path(endpoint, deployment), version=resources.DEPLOYMENT_VERSION, what=what)

    def _require_deployments(self, endpoint: str, shares: Mapping[str, int]) -> None:
        for name in shares:
            if self._deployment(endpoint, name) is None:
                raise UsageError.of(f"no deployment '{name}'", where=f"endpoint '{endpoint}'")

    def _put_endpoint(self, endpoint: str, body: Document, what: str) -> None:
        path, version = self._path(endpoint), resources.ENDPOINT_VERSION
        reply = self.arm.send("PUT", path, version=version, what=what, body=body)
        self.arm.wait(path, version=version, what=what, reply=reply, timeout_s=self._serving().deadline_s)

    def _settle(self, endpoint: str, what: str) -> None:
        path, version = self._path(endpoint), resources.ENDPOINT_VERSION
        reply = self.arm.send("GET", path, version=version, what=what)
        self.arm.wait(path, version=version, what=what, reply=reply, timeout_s=self._serving().deadline_s)

    def _start(self, path: str, body: Document, where: str) -> None:
        what = f"create the deployment of {where}"
        try:
            self.arm.send("PUT", path, version=resources.DEPLOYMENT_VERSION, what=what, body=body)
        except RefusedError as error:
            found = error.problems[0].found
            raise RefusedError.of(f"Azure refused to {what}", found=found, fix=diagnose(error.code, found)) from error

    def _describe(self, endpoint: str, request: DeploymentRequest, serving: AzureServing) -> Document:
        settings = self.arm.session.settings
        manifest = read_record(request.package / MANIFEST, Manifest)
        variables = dict(expand_variables(request.environment_variables, self.env))
        environment_id, code_id = serving.environment, ""
        if manifest.flow_kind == "callable":
            code_id = self._put_code()
            variables = with_injection(variables, request.connections, WorkspaceModels(self.arm))
            variables |= scoring_code.variables(folder_name(request.model.manifest))
        else:
            variables |= resources.promptflow_variables(settings, endpoint, request.name)
        if not environment_id:
            environment_id = self._put_environment(request.package, manifest, serving)
        elif environment_id.startswith("azureml:"):
            name, version = environment_id.removeprefix("azureml:").split(":")
            environment_id = self.arm.path(f"environments/{name}/versions/{version}")
        model = request.model
        return resources.new_deployment(
            serving,
            location=self._location,
            model=model,
            model_id=self.place.model_id(model.name, model.version),
            environment_id=environment_id,
            code_id=code_id,
            variables=variables,
            tags=request.tags,
        )

    def _put_environment(self, package: Path, manifest: Manifest, serving: AzureServing) -> str:
        """Register the environment that a flow needs; the same definition is one version for ever. Returns its id."""
        lock = (package / manifest.requirements).read_text(encoding="utf-8") if manifest.requirements else ""
        if manifest.flow_kind == "callable":
            name, body = "llmops-python", resources.python_environment(serving, lock)
        else:
            context = self._upload_context(serving, lock) if lock else ""
            name, body = "llmops-promptflow", resources.promptflow_environment(serving, context)
        path = self.arm.path(f"environments/{name}/versions/{resources.version_of(body)}")
        version, what = resources.ENVIRONMENT_VERSION, f"register the environment '{name}'"
        if self.arm.get(path, version=version, what=what) is None:
            self.arm.send("PUT", path, version=version, what=what, body=body)
        return path

    def _upload_context(self, serving: AzureServing, lock: str) -> str:
        files = {"Dockerfile": resources.dockerfile(serving), "requirements.txt": lock}
        folder = f"llmops/environments/{resources.version_of(files)}"
        contents = {name: text.encode() for name, text in files.items()}
        self.blobs.put_missing(folder, contents, "upload the environment's files")
        return f"{self.blobs.uri}/{folder}/"

    def _put_code(self) -> str:
        """Register the code that serves plain Python flows. Returns its id."""
        files = scoring_code.files()
        number = resources.version_of({name: content.decode() for name, content in files.items()})
        what = "register the code that serves Python flows"
        self.blobs.put_missing(f"llmops/code/{number}", files, what)
        path = self.arm.path(f"codes/llmops-score-{number}/versions/1")
        if self.arm.get(path, version=resources.ENVIRONMENT_VERSION, what=what) is None:
            body = {"properties": {"codeUri": f"{self.blobs.uri}/llmops/code/{number}", "isAnonymous": False}}
            self.arm.send("PUT", path, version=resources.ENVIRONMENT_VERSION, what=what, body=body)
        return path

    def _observed(self, endpoint: str, found: Document) -> Deployment:
        properties = found["properties"]
        status = _STATUSES.get(state_of(found), "creating")
        model = str(properties.get("model") or "").rstrip("/").split("/")
        name, version = (model[-3], model[-1]) if len(model) > 2 else (model[-1], "")
        return Deployment(
            name=found["name"],
            model=name,
            version=version,
            digest=str((properties.get("properties") or {}).get(resources.DIGEST, "")),
            status=status,
            message=self._reason(endpoint, found) if status == "failed" else "",
            tags=_tags(found),
        )

    def _reason(self, endpoint: str, found: Document) -> str:
        """Say why a deployment failed; found out once per process."""
        changed = json.dumps(found.get("systemData", {}), sort_keys=True)
        key = f"{endpoint}/{found['name']}/{changed}"
        if key not in self._reasons:
            self._reasons[key] = self._diagnose(endpoint, found)
        return self._reasons[key]

    def _diagnose(self, endpoint: str, found: Document) -> str:
        name, refused = found["name"], []

        def look(work: Callable[[], T], nothing: T) -> T:
            try:
                return work()
            except BackendError as error:
                refused.append(error.problems[0].what)
                return nothing

        details: Document = look(lambda: self.arm.reason(operation_of(found), f"make the deployment '{name}'"), {})
        container = look(lambda: self._log(endpoint, name, "InferenceServer", _LOG_LINES), "")
        storage = look(lambda: self._log(endpoint, name, "StorageInitializer", _LOG_LINES), "")
        said = diagnose(str(details.get("code", "")), str(details.get("message", "")), container, storage)
        return "; ".join([said, *dict.fromkeys(refused)])

    def _log(self, endpoint: str, deployment: str, kind: str, lines: int) -> str:
        path, what = f"{self._path(endpoint, deployment)}/getLogs", f"read the logs of '{deployment}' of '{endpoint}'"
        body = {"tail": lines, "containerType": kind}
        try:
            reply = self.arm.send("POST", path, version=resources.DEPLOYMENT_VERSION, what=what, body=body)
        except (NotThereError, RefusedError):
            return ""  # there is no container yet, or no more
        return str(reply.body.get("content") or "")

    def _scale(self, endpoint: str, deployment: str, serving: AzureServing) -> None:
        target, what = self._path(endpoint, deployment), f"set how '{deployment}' of '{endpoint}' scales"
        name = _scale_name(endpoint, deployment)
        body = resources.autoscale(serving, target=target, name=name, location=self._location)
        self.arm.send("PUT", self._scale_path(name), version=AUTOSCALE_VERSION, what=what, body=body)

    def _unscale(self, endpoint: str, deployment: str) -> None:
        if self._serving().autoscale is None:
            return
        path = self._scale_path(_scale_name(endpoint, deployment))
        try:
            self.arm.send("DELETE", path, version=AUTOSCALE_VERSION, what=f"end the scaling of '{deployment}'")
        except NotThereError:
            return

    def _scale_path(self, name: str) -> str:
        settings = self.arm.session.settings
        group = f"/subscriptions/{settings.subscription_id}/resourceGroups/{settings.resource_group}"
        return f"{group}/providers/Microsoft.Insights/autoscalesettings/{name}"


def _require_same_content(found: Document, request: DeploymentRequest, where: str) -> None:
    if state_of(found) == "Deleting":
        raise TransientError.of("a deployment of this name is being removed", where=where)
    digest = str((found["properties"].get("properties") or {}).get(resources.DIGEST, ""))
    if digest != request.model.digest:
        raise UsageError.of(
            "a deployment of this name serves other content",
            where=where,
            found=f"{found['properties'].get('model')}, {digest or 'not made by llmops'}",
            expected=request.model.digest,
            fix="Choose another name.",
        )


def _shares(found: Mapping[str, int] | None) -> dict[str, int]:
    return {name: share for name, share in (found or {}).items() if share}


def _tags(found: Document) -> dict[str, str]:
    return {name: value for name, value in (found.get("tags") or {}).items() if value}


def _scale_name(endpoint: str, deployment: str) -> str:
    return f"llmops-{endpoint}-{deployment}"
