"""Which deployments run, and how a model becomes one."""

from __future__ import annotations

import re
import shutil
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from llmops.backends.local.serving.serving_process import ServingSpec
from llmops.emulator.containers import Container
from llmops.emulator.errors import RefusalError, not_found, user_error
from llmops.emulator.injection import resolve
from llmops.emulator.locations import REGISTRY_ASSET_ID, blob_path, code_place, place_of

if TYPE_CHECKING:
    from llmops.emulator.cloud import Cloud, Workspace
    from llmops.emulator.store import Document

_DEFINITIONS = ("flow.dag.yaml", "flow.flex.yaml")
_MLMODEL = "MLmodel"
_SCORING = "emulated_scoring_server"
_SCORING_SERVER = """\
import json
import SCRIPT as script

script.init()

def answer(**inputs):
    return script.run(json.dumps(inputs))
"""
_MODEL_ID = re.compile(r".*/workspaces/[^/]+/models/(?P<name>[^/]+)/versions/(?P<version>[^/]+)", re.IGNORECASE)


def log_of(cloud: Cloud, workspace: Workspace, endpoint: str, deployment: str) -> Path:
    """Name the file that holds what a deployment prints."""
    return cloud.folder / "deployments" / workspace.guid / endpoint.lower() / deployment.lower() / "container.log"


def model_place(cloud: Cloud, workspace: Workspace, properties: dict[str, Any]) -> tuple[str, str]:
    """Find where the blobs of a deployment's model are: their container, and the path below it.

    Raises:
        RefusalError: the model is not registered.
    """
    model = str(properties.get("model") or "")
    shared = REGISTRY_ASSET_ID.fullmatch(model)
    if shared and shared["kind"].lower() == "models":
        return place_of(_model_uri(cloud, ("registries", shared["registry"]), shared))
    match = _MODEL_ID.fullmatch(model)
    if match is None:
        raise user_error(f"The model '{model}' is not the id of a registered model.")
    return workspace.container, blob_path(_model_uri(cloud, workspace.key, match))


def _model_uri(cloud: Cloud, home: tuple[str, str], model: re.Match[str]) -> str:
    found = cloud.store.get(*home, "models", model["name"], "versions", model["version"])
    if found is None:
        raise user_error(f"The model '{model['name']}' version '{model['version']}' does not exist.")
    uri: str = found["properties"]["modelUri"]
    return uri


@dataclass
class Hosting:
    """The processes of the deployments; after a restart of the emulator they start when they are first asked."""

    cloud: Cloud
    _running: dict[str, Container] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def replace(self, workspace: Workspace, endpoint: str, deployment: str) -> None:
        """Start the process of a deployment; one that ran before serves until the new one is healthy.

        Raises:
            RefusalError: it does not become healthy, or was deleted meanwhile.
        """
        container = self._start(workspace, endpoint, deployment)
        name = _name(workspace, endpoint, deployment)
        with self._lock:
            is_wanted = self.cloud.store.get(*workspace.deployment_key(endpoint, deployment)) is not None
            ended = self._running.get(name) if is_wanted else container
            if is_wanted:
                self._running[name] = container
        if ended is not None:
            self.cloud.containers.stop(ended)
        if not is_wanted:
            raise not_found(f"deployment '{deployment}' of endpoint '{endpoint}'")

    def find(self, workspace: Workspace, endpoint: str, deployment: str) -> Container:
        """Return the process of a deployment.

        Raises:
            RefusalError: 404, there is none.
        """
        name = _name(workspace, endpoint, deployment)
        if name not in self._running:
            found = self.cloud.store.get(*workspace.deployment_key(endpoint, deployment))
            if found is None or found["properties"]["provisioningState"] != "Succeeded":
                raise not_found(f"deployment '{deployment}' of endpoint '{endpoint}'")
            self.replace(workspace, endpoint, deployment)
        return self._running[name]

    def stop(self, workspace: Workspace, endpoint: str, deployment: str) -> None:
        """End the process of a deployment, if there is one."""
        with self._lock:
            container = self._running.pop(_name(workspace, endpoint, deployment), None)
        if container is not None:
            self.cloud.containers.stop(container)

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            running, self._running = list(self._running.values()), {}
        for container in running:
            self.cloud.containers.stop(container)

    def _start(self, workspace: Workspace, endpoint: str, deployment: str) -> Container:
        document = self.cloud.store.get(*workspace.deployment_key(endpoint, deployment))
        if document is None:
            raise not_found(f"deployment '{deployment}'")
        properties = document["properties"]
        log = log_of(self.cloud, workspace, endpoint, deployment)
        folder = log.parent / "model"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            self.cloud.blobs.download(*model_place(self.cloud, workspace, properties), folder)
        except FileNotFoundError as error:
            raise RefusalError(200, "ResourceNotReady", f"The model cannot be downloaded: {error}") from error
        connections = {one["name"]: one for one in self.cloud.connections_of(workspace.guid)}
        variables = resolve(properties.get("environmentVariables") or {}, connections)
        properties = {**properties, "environmentVariables": variables}
        if code := (properties.get("codeConfiguration") or {}).get("codeId"):
            spec = self._scoring_script(workspace, properties, str(code), folder)
        else:
            spec = self._prompt_flow(properties, _flow_folder(folder), connections)
        secrets = [text for one in connections.values() for text in one["secrets"].values()]
        return self.cloud.containers.start(replace(spec, secrets=secrets), log)

    def _prompt_flow(self, properties: Document, folder: Path, connections: dict[str, Document]) -> ServingSpec:
        return ServingSpec(
            kind="promptflow",
            folder=folder,
            flow_file=find_definition(folder),
            paths=[folder],
            python=self.cloud.python,
            connections=connections,
            environment_variables=properties["environmentVariables"],
        )

    def _scoring_script(self, workspace: Workspace, properties: Document, code: str, model: Path) -> ServingSpec:
        """Serve with a scoring script, as `azureml-inference-server-http` does: `init` once, `run` for each request."""
        place = code_place(self.cloud, workspace, code)
        folder = model.parent / "code"
        shutil.rmtree(folder, ignore_errors=True)
        self.cloud.blobs.download(*place, folder)
        script = Path(str(properties["codeConfiguration"]["scoringScript"]))
        (folder / f"{_SCORING}.py").write_text(_SCORING_SERVER.replace("SCRIPT", script.stem), encoding="utf-8")
        return ServingSpec(
            kind="callable",
            folder=folder,
            flow_file=script.name,
            entry=f"{_SCORING}:answer",
            paths=[folder / script.parent, folder],
            python=self.cloud.python,
            environment_variables={**properties["environmentVariables"], "AZUREML_MODEL_DIR": str(model)},
        )


def _flow_folder(folder: Path) -> Path:
    """Find the flow in a model as prompt flow's runtime does.

    It takes the one folder of the model, and in that the folder of the definition that `MLmodel` names. Source:
    `promptflow.core._serving.extension`, 1.18.5.
    """
    entries = [entry for entry in folder.iterdir() if entry.is_dir()]
    if not any((folder / name).exists() for name in (*_DEFINITIONS, _MLMODEL)) and len(entries) == 1:
        folder = entries[0]
    if not (folder / _MLMODEL).exists():
        return folder
    described = yaml.safe_load((folder / _MLMODEL).read_text(encoding="utf-8")) or {}
    entry = ((described.get("flavors") or {}).get("promptflow") or {}).get("entry")
    if not entry:
        raise RefusalError(200, "ResourceNotReady", "The MLmodel names no entry of a prompt flow.")
    return (folder / str(entry)).parent


def find_definition(folder: Path) -> str:
    """Name the flow's definition in its folder.

    Raises:
        RefusalError: there is none.
    """
    found = [name for name in _DEFINITIONS if (folder / name).exists()]
    found += sorted(path.name for path in folder.glob("*.prompty"))
    if not found:
        raise RefusalError(200, "ResourceNotReady", f"The model holds no flow: none of {', '.join(_DEFINITIONS)}.")
    return found[0]


def _name(workspace: Workspace, endpoint: str, deployment: str) -> str:
    return f"{workspace.guid}/{endpoint}/{deployment}".lower()
