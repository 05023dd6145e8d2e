"""Lines run by this very driver in command jobs of the workspace: for flows of every kind, over shards for many lines.

Command jobs are built from the SDK's code and the public API specification; see the page on what is assumed.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import itertools
import json
import math
import re
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import llmops
from llmops.backends.azure.bounded import bounded
from llmops.backends.azure.flow_runs import expand_for_all_to_see
from llmops.backends.azure.job.task import DRIVER, LINES, PROJECT, RUN, TASK, JobTask, shard_file
from llmops.backends.azure.refusals import BusyError, NotThereError, RefusedError
from llmops.backends.azure.run_service import RemoteRun
from llmops.backends.azure.session import AzureSession
from llmops.backends.azure.shares import NO_LIMIT, add, divide, from_text, left_of, spent_of, to_text
from llmops.backends.azure.uploads import upload
from llmops.backends.azure.work import PREFIX, Outcome, Work, describe_with_tags
from llmops.backends.protocols import RunRequest
from llmops.config.model import Budget, Environment
from llmops.errors import UsageError
from llmops.flows.baseline import materialise
from llmops.flows.model import Flow, needs_llm_tool
from llmops.records import Line, RunRecord, line_from_json, read_record, write_record, write_stream
from llmops.requirements import LLM_TOOLS, pins_of

if TYPE_CHECKING:
    from azure.ai.ml.entities import Job

T = TypeVar("T")

SHARDS = f"{PREFIX}shards"
"""Tag that says among how many jobs a try is divided."""
SHARE = f"{PREFIX}share"
"""Tag that says what a job may spend on models; one without it has no limit."""
IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest"
"""Image below the packages. Source: Microsoft's list of Azure Machine Learning base images."""

_ENDED = frozenset({"Completed", "Failed", "Canceled", "NotResponding"})
_LOG = "user_logs/std_log.txt"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, kw_only=True)
class _Common:
    """What all jobs of a try have in common.

    Attributes:
        name: of the try.
        address: of the bundle.
        identity: as the SDK has it; None for nobody.
        flow: what runs.
    """

    name: str
    address: str
    tags: Mapping[str, str]
    identity: Any
    flow: Flow


@dataclass(frozen=True)
class JobRuns:
    """The `Compute` that command jobs are.

    Args:
        session: the workspace.
        environment: says on what compute jobs run, and holds prices.
        state: the project's `.llmops/` folder.
        env: environment variables, for references.
    """

    session: AzureSession
    environment: Environment
    state: Path
    env: Mapping[str, str]

    def find(self, name: str) -> RemoteRun | None:
        """See `Compute.find`; the first shard is started last, so that all are there when it is."""
        first = self._job(_shard_name(name, 1))
        if first is None:
            return None
        shards = int((first.tags or {}).get(SHARDS, "1"))
        jobs = [first, *(self._job(_shard_name(name, shard)) for shard in range(2, shards + 1))]
        statuses = [str(job.status) if job else "NotStarted" for job in jobs]
        status = _together(statuses)
        failed = [number for number, each in enumerate(statuses, 1) if each in _ENDED and each != "Completed"]
        return RemoteRun(
            name=name,
            status=status,
            link=str(first.studio_url or ""),
            display_name=str(first.display_name or ""),
            error=self._why(name, failed) if status in _ENDED and failed else "",
            tags={str(key): str(value) for key, value in (first.tags or {}).items()},
            share=add(_share_of(job) for job in jobs if job),
        )

    def start(self, name: str, work: Work, todo: Sequence[int], share: Budget) -> Budget:
        """See `Compute.start`; shards that another command started, or began to, keep what that one gave them."""
        shards = self._count_shards(work, len(todo))
        with tempfile.TemporaryDirectory() as folder:
            bundle = Path(folder) / "bundle"
            self._write_bundle(bundle, work, todo, shards)
            address = upload(self.session, bundle, f"upload what the job '{name}' needs")
        there = self._begun(name, shards)
        sizes = {shard: len(part) for shard, part in enumerate(_divide(todo, shards), 1) if shard not in there}
        given = dict(zip(sizes, divide(left_of(share, there.values()), list(sizes.values())), strict=True))
        assert work.request is not None
        common = _Common(
            name=name,
            address=address,
            tags={**describe_with_tags(work, self.env), SHARDS: str(shards)},
            identity=self._identity(work.request),
            flow=work.request.source.flow,
        )
        for shard in sorted(given, reverse=True):
            described = partial(self._describe, common, shard, given[shard])
            there[shard] = self._start(_shard_name(name, shard), described, given[shard])
        return add(there.values())

    def _identity(self, request: RunRequest) -> Any:
        """Return as whom the jobs ask for what they may, as the SDK says it; None for nobody."""
        from azure.ai.ml.entities import ManagedIdentityConfiguration, UserIdentityConfiguration

        wish = self.environment.azure.runs.jobs.identity
        if wish == "automatic" and any(one.type == "workspace" for one in request.connections.values()):
            wish = "managed"
        if wish == "managed":
            return ManagedIdentityConfiguration()
        return UserIdentityConfiguration() if wish == "user" else None

    def _start(self, name: str, described: Callable[[], Job], share: Budget) -> Budget:
        """Start one job; return its share, which is another one where another command was first."""
        try:
            self._call(f"start the job '{name}'", lambda: self.session.ml.jobs.create_or_update(described()))
        except (RefusedError, BusyError):
            job = self._job(name)
            if job is None:
                raise
            return _share_of(job)
        return share

    def _begun(self, name: str, shards: int) -> dict[int, Budget]:
        """Return the shares of those shards that are there though the first, which is started last, is not."""
        if shards == 1 or self._job(_shard_name(name, shards)) is None:
            return {}
        jobs = {shard: self._job(_shard_name(name, shard)) for shard in range(1, shards + 1)}
        return {shard: _share_of(job) for shard, job in jobs.items() if job}

    def read(self, remote: RemoteRun, work: Work, todo: Sequence[int]) -> Outcome:
        """See `Compute.read`."""
        shards = int(remote.tags.get(SHARDS, "1"))
        lines: dict[int, Line] = {}
        records: list[RunRecord] = []
        spent: list[Budget] = []
        for shard, positions in enumerate(_divide(todo, shards), 1):
            job = self._job(_shard_name(remote.name, shard))
            if job is None or str(job.status) != "Completed":
                spent += [_share_of(job)] if job else []
                continue
            with self._fetched(remote.name, shard) as folder:
                lines.update(_read_lines(folder / LINES, work, positions))
                records.append(read_record(folder / RUN, RunRecord))
            spent.append(spent_of(records[-1].model_calls, _share_of(job)))
        outcome = Outcome(lines, versions=records[-1].versions if records else {}, spent=add(spent))
        if not records or not work.pending.aggregates:
            return outcome
        return outcome._replace(metrics=records[-1].metrics, aggregation_error=records[-1].aggregation_error)

    def count_finished(self, name: str) -> int:
        """See `Compute.count_finished`; the shards' logs tell."""
        counts = re.findall(r"^shard \d+: (\d+) of \d+ lines", self.read_log(name), re.MULTILINE)
        return int(counts[-1]) if counts else 0

    def read_log(self, name: str) -> str:
        """See `Compute.read_log`."""
        first = self._job(_shard_name(name, 1))
        if first is None:
            return ""
        shards = range(1, int((first.tags or {}).get(SHARDS, "1")) + 1)
        return "\n".join(self._read_log(_shard_name(name, shard)).rstrip("\n") for shard in shards)

    def cancel(self, name: str) -> None:
        """See `Compute.cancel`."""
        first = self._job(_shard_name(name, 1))
        for shard in range(1, int((first.tags or {}).get(SHARDS, "1")) + 1 if first else 1):
            job = _shard_name(name, shard)
            self._call(f"cancel the job '{job}'", lambda job=job: self.session.ml.jobs.begin_cancel(job).wait(30))  # type: ignore[misc]

    def _job(self, name: str) -> Job | None:
        try:
            return self._call(f"look for the job '{name}'", lambda: self.session.ml.jobs.get(name))
        except NotThereError:
            return None

    def _why(self, name: str, failed: Sequence[int]) -> str:
        shard = failed[0]
        log = self._read_log(_shard_name(name, shard)).strip().splitlines()
        at = next((number for number, line in enumerate(log) if line.startswith("error: ")), None)
        if at is None:
            return f"shard {shard}: {log[-1] if log else 'it left no log'}"
        more = itertools.takewhile(lambda line: line.startswith("  "), log[at + 1 :])
        return ". ".join([f"shard {shard}: {log[at].removeprefix('error: ')}", *(line.strip(" .") for line in more)])

    def _read_log(self, name: str) -> str:
        def read() -> str:
            import httpx

            details = _run_operations(self.session).get_run_details(name)
            address = (details.log_files or {}).get(_LOG)
            if not address:
                return ""
            return httpx.get(address, timeout=60.0).raise_for_status().content.decode("utf-8", "replace")

        try:
            return self._call(f"read the log of the job '{name}'", read)
        except NotThereError:
            return ""  # it is named before its first line is written

    def _count_shards(self, work: Work, lines: int) -> int:
        """Divide many lines; nodes over all lines need them in one process."""
        if work.pending.aggregates:
            return 1
        jobs = self.environment.azure.runs.jobs
        return max(1, min(jobs.max_shards, math.ceil(lines / jobs.shard_lines)))

    def _write_bundle(self, bundle: Path, work: Work, todo: Sequence[int], shards: int) -> None:
        request = work.request
        assert request is not None
        source = request.source
        materialise(source.tree, source.closure, bundle / PROJECT)
        _pack_driver(bundle / DRIVER)
        for shard, positions in enumerate(_divide(todo, shards), 1):
            texts = (json.dumps(work.planned[index].inputs, ensure_ascii=False) for index in positions)
            write_stream(shard_file(bundle, shard), texts)
        task = JobTask(
            flow=source.ref,
            source=source.flow.source,
            project=source.tree.prefix,
            experiment=request.experiment,
            environment=request.environment,
            concurrency=request.concurrency,
            line_timeout_s=request.line_timeout_s,
            connections=_shippable({name: one.type for name, one in request.connections.items()}),
            environment_variables=expand_for_all_to_see(request.environment_variables, self.env),
            prices=self.environment.prices,
            retries=self.environment.retries,
            stand_in=self.environment.stand_in,
            workspace=self.session.settings.workspace_id,
            resource_manager=self.session.settings.cloud.resource_manager,
        )
        write_record(bundle / TASK, task)

    def _describe(self, common: _Common, shard: int, share: Budget) -> Job:
        from azure.ai.ml import Input, Output, command
        from azure.ai.ml.entities import Environment as JobEnvironment

        name, tags, runs = common.name, common.tags, self.environment.azure.runs
        more: dict[str, Any] = {"instance_type": runs.instance_type} if runs.instance_type else {}
        environment: Any = runs.jobs.environment or JobEnvironment(image=IMAGE, conda_file=_packages(common.flow))
        unpack = f"python -m zipfile -e ${{{{inputs.bundle}}}}/{DRIVER} driver"
        text = to_text(share)
        start = f"python -m llmops.backends.azure.job ${{{{inputs.bundle}}}} {shard} ${{{{outputs.out}}}}"
        return command(
            name=_shard_name(name, shard),
            command=f"{unpack} && PYTHONPATH=driver {start} {text}".rstrip(),
            inputs={"bundle": Input(type="uri_folder", path=common.address)},
            outputs={"out": Output(type="uri_folder", path=_place(name, shard))},
            environment=environment,
            compute=runs.jobs.cluster or None,
            identity=common.identity,
            display_name=f"{tags.get(f'{PREFIX}experiment', name)} shard {shard} of {tags[SHARDS]}",
            experiment_name=tags.get(f"{PREFIX}experiment") or "llmops",
            tags={**tags, **({SHARE: text} if text else {})},
            **more,
        )

    @contextlib.contextmanager
    def _fetched(self, name: str, shard: int) -> Iterator[Path]:
        """Fetch what a shard left behind, for the length of a `with` block."""
        from azure.ai.ml._artifacts._artifact_utilities import download_artifact_from_aml_uri

        with tempfile.TemporaryDirectory() as folder:
            datastores = self.session.ml.datastores
            self._call(
                f"fetch the lines of the job '{_shard_name(name, shard)}'",
                lambda: download_artifact_from_aml_uri(
                    uri=_place(name, shard), destination=folder, datastore_operation=datastores
                ),
            )
            (record,) = Path(folder).rglob(RUN)
            yield record.parent

    def _call(self, what: str, work: Callable[[], T]) -> T:
        limit = self.environment.azure.runs.call_timeout_s
        _ = self.session.ml  # building it takes long and is no part of the call
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return self.session.call(what, lambda: bounded(work, limit))


def _pack_driver(path: Path) -> None:
    """Put this package into one file, the same bytes each time: hundreds of small ones would be a request each."""
    package = Path(llmops.__file__).parent
    files = (file for file in sorted(package.rglob("*")) if file.is_file() and "__pycache__" not in file.parts)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            name = file.relative_to(package)
            if name.parts[0] != "emulator":
                entry = zipfile.ZipInfo((Path("llmops") / name).as_posix())
                archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)


def _run_operations(session: AzureSession) -> Any:
    """Return the SDK's way to logs; `stream` prints.

    Raises:
        azure.core.exceptions.ServiceResponseError: the workspace does not say where its services are; the SDK takes any
            answer for a list of addresses and stumbles over it.
    """
    from azure.core.exceptions import ServiceResponseError

    try:
        return session.ml.jobs._runs_operations  # noqa: SLF001 as above
    except KeyError as error:
        raise ServiceResponseError(f"the workspace's discovery address names no service '{error.args[0]}'") from error


def _share_of(job: Job) -> Budget:
    """Read what a job may spend; what people made of the tag is taken for no limit, which leaves nothing to others."""
    try:
        return from_text(str((job.tags or {}).get(SHARE, "")))
    except ValueError:
        return NO_LIMIT


def _shard_name(name: str, shard: int) -> str:
    return f"{name}-s{shard}"


def _place(name: str, shard: int) -> str:
    return f"azureml://datastores/workspaceblobstore/paths/llmops/jobs/{_shard_name(name, shard)}/"


def _divide(todo: Sequence[int], shards: int) -> Iterator[Sequence[int]]:
    """Cut the lines into shards of nearly the same size, in order."""
    size, more = divmod(len(todo), shards)
    start = 0
    for shard in range(shards):
        end = start + size + (1 if shard < more else 0)
        yield todo[start:end]
        start = end


def _together(statuses: Sequence[str]) -> str:
    """Say the status of a try by those of its jobs."""
    if set(statuses) == {"Completed"}:
        return "Completed"
    going_on = [status for status in statuses if status not in _ENDED]
    if going_on:
        return "Running" if "Running" in going_on or len(going_on) < len(statuses) else going_on[0]
    return "Canceled" if "Canceled" in statuses else "Failed"


def _read_lines(path: Path, work: Work, positions: Sequence[int]) -> Iterator[tuple[int, Line]]:
    with path.open(encoding="utf-8") as handle:
        for text in handle:
            line = line_from_json(text)
            position = positions[line.row]
            planned = work.planned[position]
            yield position, replace(line, row=planned.row, repeat=planned.repeat, inputs=planned.inputs)


def _shippable(connections: Mapping[str, str]) -> Mapping[str, str]:
    refused = sorted(name for name, kind in connections.items() if kind not in {"workspace", "stand_in"})
    if refused:
        raise UsageError.of(
            "a key would have to be sent along",
            where="azure.runs.compute: job",
            found=", ".join(f"connection '{name}'" for name in refused),
            expected="connections of the type workspace",
            fix="Create the connection in the workspace and write `type: workspace`.",
        )
    return connections


def _packages(flow: Flow) -> dict[str, Any]:
    """Name the packages of the job's environment: what this driver and the flow run on, in the same versions."""
    wanted = importlib.metadata.requires("llmops") or []
    names = [match[0] for text in wanted if ";" not in text and (match := _NAME.match(text))]
    found = {name: importlib.metadata.version(name) for name in names}
    pins = [f"{name}=={version}" for name, version in sorted(found.items())]
    pins.append(f"azure-identity=={importlib.metadata.version('azure-identity')}")
    if needs_llm_tool(flow):
        pins += [f"{name}=={version}" for name, version in pins_of(LLM_TOOLS.read_text(encoding="utf-8"))]
    pip: dict[str, Any] = {"pip": pins}
    python = f"python={sys.version_info.major}.{sys.version_info.minor}"
    return {"name": "llmops", "channels": ["conda-forge"], "dependencies": [python, "pip", pip]}
