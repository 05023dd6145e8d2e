"""From a request to what a worker process needs."""

from __future__ import annotations

import posixpath
import sys
from collections.abc import Mapping
from pathlib import Path

from llmops.backends.protocols import FlowSource, RunRequest
from llmops.engine.environments import AUTO, Environments, interpreter
from llmops.engine.models import WorkerConnections
from llmops.engine.worker_process import WorkerSpec
from llmops.errors import UsageError
from llmops.flows.model import Flow


def worker_spec(
    request: RunRequest,
    root: Path,
    connections: WorkerConnections,
    variables: Mapping[str, str],
    *,
    python: str,
    trace: bool = False,
) -> WorkerSpec:
    """Say how a worker loads the flow of a request.

    Args:
        request: names the flow and what overlays it.
        root: the project folder in a copy of the flow.
        connections: real values; they reach the worker through its pipe.
        variables: environment variables, references to the environment expanded.
        python: of the worker.
        trace: whether lines bring what each of their nodes did.
    """
    source = request.source
    return WorkerSpec(
        name=source.flow.name,
        folder=root / source.flow.path,
        flow_file=source.flow.definition,
        kind=source.flow.kind,
        entry=source.flow.entry,
        paths=[root / place for place in source.closure.import_roots],
        variants=source.ref.variants,
        nodes=source.ref.nodes,
        init=source.ref.init,
        connections=connections.values,
        environment_variables=variables,
        secrets=connections.secrets,
        withheld=connections.withheld,
        threads=request.concurrency,
        python=python,
        trace=trace,
    )


def find_python(source: FlowSource, root: Path, state: Path, env: Mapping[str, str]) -> str:
    """Return the flow's interpreter; builds its environment when the flow asks for one, which may take minutes.

    Args:
        source: the flow.
        root: the project folder in a copy of the flow.
        state: the project's `.llmops/` folder.
        env: environment variables of the installer.

    Raises:
        UsageError: there is no such Python, or no requirements file.
        BackendError: the environment cannot be built.
    """
    wanted, flow = source.ref.python, source.flow
    if not wanted:
        return sys.executable
    if wanted != AUTO:
        return interpreter(wanted, root=state.parent, flow=flow.name)
    requirements = find_requirements(root, flow)
    if requirements is None:
        raise UsageError.of(
            "python: auto, but the flow has no requirements.txt",
            where=flow.name,
            expected="requirements.txt in the flow's folder, or beside the module of a callable",
            fix="Add it, or name a Python.",
        )
    environments = Environments(folder=state / "environments", env=env)
    return str(environments.build(requirements, flow=flow.name, flow_digest=source.ref.digest))


def find_requirements(root: Path, flow: Flow) -> Path | None:
    """Find the flow's requirements: in its folder, or beside the module of a callable; None when it has none.

    Args:
        root: the project folder in a copy of the flow.
        flow: the flow.
    """
    folder = root / flow.path
    if not flow.definition:
        folder = root / posixpath.dirname(flow.entry.partition(":")[0].replace(".", "/"))
    places = (folder / "requirements.txt", root / "src" / folder.relative_to(root) / "requirements.txt")
    return next((place for place in places if place.is_file()), None)
