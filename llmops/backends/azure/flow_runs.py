"""Lines run by prompt flow in the workspace, on serverless compute or a compute instance."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops.backends.azure.child_runs import to_line
from llmops.backends.azure.flow_folder import flow_folder
from llmops.backends.azure.run_service import RemoteRun, RunService, Submission
from llmops.backends.azure.uploads import upload
from llmops.backends.azure.work import PREFIX, Outcome, Work, describe_with_tags
from llmops.backends.protocols import RunRequest
from llmops.config.connections import expand_variables
from llmops.config.model import AzureRuns, Budget
from llmops.errors import Problem, UsageError
from llmops.records import LineError, RunRecord, write_stream

LINES = f"{PREFIX}lines"
"""Tag that says what a line's number counts: `rows` of the data set, or lines of a `file` that was made for the run."""

_LATE_LOOKS = 6
_LATE_S = 2.0
_SECRET = re.compile(r"(?i)key|secret|token|password|credential")
_OF_THE_LINE = "${run.line."


@dataclass(frozen=True)
class FlowRuns:
    """The `Compute` that prompt flow offers.

    Args:
        service: the runs of the workspace.
        settings: compute and size.
        state: the project's `.llmops/` folder.
        env: environment variables, for references.
        sleep: waits, seconds.
    """

    service: RunService
    settings: AzureRuns
    state: Path
    env: Mapping[str, str]
    sleep: Callable[[float], None] = time.sleep

    def find(self, name: str) -> RemoteRun | None:
        """See `Compute.find`."""
        return self.service.find(name)

    def start(self, name: str, work: Work, todo: Sequence[int], share: Budget) -> Budget:
        """See `Compute.start`; what a flow spends in the workspace nobody can limit.

        Where it can, the run is what a person would have submitted: the registered data set, the mapping as it is
        written, and a link to the run that it evaluates. Else the inputs of the lines are a file of their own.
        """
        request = work.request
        assert request is not None
        variables = expand_for_all_to_see(request.environment_variables, self.env)
        with flow_folder(request.source, self.state / "tmp") as folder, tempfile.TemporaryDirectory() as own:
            is_plain = _is_plain(work, todo, request)
            if is_plain:
                data = self._registered(request)
                mapping: Mapping[str, Any] = request.column_mapping
            else:
                inputs = _write_inputs(Path(own) / f"{name}.jsonl", work, todo)
                data = upload(self.service.session, inputs, f"upload the inputs of the run '{name}'")
                names = {key for index in todo for key in work.planned[index].inputs}
                mapping = {key: f"${{data.{key}}}" for key in sorted(names)}
            self.service.submit(
                Submission(
                    name=name,
                    folder=folder,
                    data=data,
                    column_mapping=mapping,
                    target=work.target.remote[0] if is_plain and work.target else "",
                    variant=_variant(request),
                    connections=request.source.ref.nodes,
                    environment_variables=variables,
                    init=request.source.ref.init,
                    resources=self._resources(request),
                    tags={**describe_with_tags(work, self.env), LINES: "rows" if is_plain else "file"},
                    display_name=request.about.display_name or f"{request.experiment} {request.label}",
                    description=request.about.description,
                    lineage=f"{self.service.session.settings.workspace_id}/{request.source.ref.path}",
                )
            )
        return share

    def read(self, remote: RemoteRun, work: Work, todo: Sequence[int]) -> Outcome:
        """See `Compute.read`."""
        lines = {}
        numbers = _numbers(remote, work, todo)
        for look in range(_LATE_LOOKS):
            count = max(numbers, default=-1) + 1
            for child in self.service.read_lines(remote.name, count):
                position = numbers.get(int(child["index"]))
                if position is not None:
                    lines[position] = to_line(child, work.planned[position])
            if len(lines) == len(todo) or remote.status != "Completed":
                break
            if look < _LATE_LOOKS - 1:
                self.sleep(_LATE_S)  # the last lines of a run show up a little after its end
        if remote.status == "Completed":
            metrics = self.service.read_metrics(remote.name) if work.pending.aggregates else {}
            return Outcome(lines, metrics)
        error = LineError(type=remote.error_code or remote.status, message=remote.error)
        return Outcome(lines, aggregation_error=error if work.pending.aggregates else None)

    def count_finished(self, name: str) -> int:
        """See `Compute.count_finished`."""
        return self.service.count_finished(name)

    def read_log(self, name: str) -> str:
        """See `Compute.read_log`."""
        return self.service.read_log(name)

    def cancel(self, name: str) -> None:
        """See `Compute.cancel`."""
        self.service.cancel(name)

    def _registered(self, request: RunRequest) -> str:
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(request.dataset.path).stem).strip("-_") or "rows"
        version = request.dataset.digest.removeprefix("sha256:")[:16]
        if request.dataset.path.startswith("azureml:"):
            return request.dataset.path
        return self.service.ensure_data(request.data, f"llmops-{stem}", version)

    def _resources(self, request: RunRequest) -> Mapping[str, str]:
        if request.about.resources:
            return request.about.resources
        if self.settings.compute != "serverless":
            return {"compute": self.settings.compute}
        return {"instance_type": self.settings.instance_type} if self.settings.instance_type else {}


def _variant(request: RunRequest) -> str:
    """Say the chosen variant in the service's way; several are chosen in the uploaded definition."""
    if len(request.source.ref.variants) != 1:
        return ""
    ((node, variant),) = request.source.ref.variants.items()
    return f"${{{node}.{variant}}}"


def _is_plain(work: Work, todo: Sequence[int], request: RunRequest) -> bool:
    """Tell whether the service, given data set and mapping, runs these very lines with these very inputs."""
    if len(todo) != len(work.planned) or request.repeats != 1 or request.rows is not None:
        return False
    if request.data.suffix.lower() != ".jsonl" or _OF_THE_LINE in json.dumps(dict(request.column_mapping)):
        return False
    return request.target is None or (work.target is not None and _is_plain_target(work.target))


def _is_plain_target(target: RunRecord) -> bool:
    """Tell whether the lines of a run are numbered as the rows of its data set, and whether it can be linked to."""
    is_whole = target.lines == target.dataset.rows and not target.unmeasured and not target.aggregation_error
    return is_whole and target.repeats == 1 and not target.target and list(target.remote) == [target.id]


def _numbers(remote: RemoteRun, work: Work, todo: Sequence[int]) -> dict[int, int]:
    """Map the number of a line in the service to its position in the plan."""
    if remote.tags.get(LINES) == "rows":
        return {work.planned[position].row: position for position in todo}
    return dict(enumerate(todo))


def _write_inputs(path: Path, work: Work, todo: Sequence[int]) -> Path:
    write_stream(path, (json.dumps(work.planned[index].inputs, ensure_ascii=False) for index in todo))
    return path


def expand_for_all_to_see(variables: Mapping[str, str], env: Mapping[str, str]) -> Mapping[str, str]:
    """Resolve references; what may be a secret is refused, because a run shows its variables in the studio."""
    problems = [
        Problem(
            what="a secret would be shown in the workspace",
            where=f"environment_variables.{name}",
            found="a reference to an environment variable",
            fix="Put it into a connection of the workspace and write ${CONNECTION.KEY}.",
        )
        for name, text in variables.items()
        if "${env:" in text and _SECRET.search(f"{name} {text}")
    ]
    if problems:
        raise UsageError(*problems)
    return expand_variables(variables, env)
