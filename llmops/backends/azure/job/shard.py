"""One shard of a run: the engine over its lines, as on any machine."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from llmops.backends.azure.job.connections import fetch_connections
from llmops.backends.azure.job.task import LINES, PROJECT, RUN, TASK, JobTask, shard_file
from llmops.backends.local.runs import LocalRuns
from llmops.backends.protocols import FlowSource, RunRequest
from llmops.config.connections import ResolvedConnection
from llmops.config.model import Budget, Environment
from llmops.engine.cache import LineCache
from llmops.engine.gateway.settings import ModelUse
from llmops.engine.models import ModelServices
from llmops.errors import LlmopsError, UsageError
from llmops.flows.closure import find_closure
from llmops.flows.digest import digest_closure
from llmops.flows.folder import read_flow_in
from llmops.flows.tree import WorkingTree
from llmops.records import DatasetRef, RunRecord, read_record


def run_shard(bundle: Path, shard: int, output: Path, share: Budget) -> None:
    """Run the lines of a shard and leave its record and lines in `output`.

    Args:
        bundle: what `JobRuns` uploaded; it is only read.
        shard: counted from 1.
        output: a folder.
        share: what may be spent on models; the lines that are left then are unmeasured.

    Raises:
        UsageError: the flow is not the one that was submitted, or does not load.
    """
    task = read_record(bundle / TASK, JobTask)
    source = _read_source(bundle, task)
    rows = shard_file(bundle, shard)
    content = rows.read_bytes()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    request = RunRequest(
        label=f"shard {shard}",
        experiment=task.experiment,
        source=source,
        dataset=DatasetRef(name="shard", path=rows.name, digest=digest, rows=content.count(b"\n")),
        data=rows,
        column_mapping={},
        environment=task.environment,
        connections=_connections(task),
        environment_variables=task.environment_variables,
        concurrency=task.concurrency,
        line_timeout_s=task.line_timeout_s,
    )
    with tempfile.TemporaryDirectory() as state, _open_runs(task, Path(state), share) as runs:
        (record,) = runs.run([request], _Printed())
        if isinstance(record, LlmopsError):
            raise record
        _leave(runs, record, output)


def _read_source(bundle: Path, task: JobTask) -> FlowSource:
    tree = WorkingTree(bundle / PROJECT / task.project, top=bundle / PROJECT)
    closure = find_closure(tree, read_flow_in(tree, task.source))
    digest = digest_closure(tree, closure)
    if digest != task.flow.digest:
        raise UsageError.of("the flow is not the one that was submitted", found=digest, expected=task.flow.digest)
    return FlowSource(ref=task.flow, tree=tree, closure=closure)


@contextlib.contextmanager
def _open_runs(task: JobTask, state: Path, share: Budget) -> Iterator[LocalRuns]:
    environment = Environment(name=task.environment, prices=task.prices, retries=task.retries, stand_in=task.stand_in)
    with (
        contextlib.closing(LineCache(state / "cache.sqlite")) as cache,
        ModelServices(environment, dict(os.environ), state, ModelUse(budget=share)) as services,
        contextlib.closing(LocalRuns(state, cache, services)) as runs,
    ):
        yield runs


def _connections(task: JobTask) -> Mapping[str, ResolvedConnection]:
    kept = [name for name, kind in task.connections.items() if kind == "workspace"]
    fetched = fetch_connections(task, kept) if kept else {}
    own = {
        name: ResolvedConnection(
            name=name,
            type="stand_in",
            api_key=None,
            base_url=None,
            api_base=None,
            api_version=None,
            organization=None,
            configs={},
            secrets={},
        )
        for name, kind in task.connections.items()
        if kind == "stand_in"
    }
    return {**own, **fetched}


def _leave(runs: LocalRuns, record: RunRecord, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    for name in (LINES, RUN):  # the record last: it says that the lines are whole
        shutil.copyfile(runs.recorded.folder(record.id) / name, output / name)


class _Printed:
    """Progress as lines of the job's log."""

    def update(self, label: str, *, done: int, total: int, failed: int = 0, unmeasured: int = 0) -> None:
        """See `Progress.update`."""
        step = max(total // 20, 1)
        if done % step == 0 or done == total:
            sys.stderr.write(f"{label}: {done} of {total} lines, {failed} failed, {unmeasured} unmeasured\n")

    def close(self) -> None:
        """See `Progress.close`."""
