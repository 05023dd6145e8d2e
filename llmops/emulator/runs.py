"""Prompt flow runs: their phases, their execution, and what they leave behind."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from llmops.config.data import read_rows
from llmops.emulator.clock import timestamp
from llmops.emulator.errors import RefusalError, user_error
from llmops.emulator.execution import FlowRun, LineOutcome, RunFailedError, Sources, execute
from llmops.emulator.locations import data_path
from llmops.emulator.threads import CanceledError, Cancellation, Threads
from llmops.errors import LlmopsError

if TYPE_CHECKING:
    from llmops.emulator.cloud import Cloud, Workspace
    from llmops.emulator.store import Document

RUNNING = frozenset({"NotStarted", "Preparing", "Running", "Finalizing", "CancelRequested"})
_MOST_LINES_IN_FILE = 25


def artifacts_prefix(run: str) -> str:
    """Name the folder of a run's files below the container."""
    return f"promptflow/PromptFlowArtifacts/{run}/"


@dataclass
class Runs:
    """The runs that this process executes."""

    cloud: Cloud
    _threads: Threads = field(default_factory=Threads)

    def start(self, workspace: Workspace, run: str, fault: str = "") -> None:
        """Execute a submitted run on a thread of its own.

        Args:
            workspace: that holds it.
            run: its id; its document is in the store.
            fault: `fail_operation` or `stick_operation`; empty executes it.
        """

        def work(canceled: Cancellation) -> None:
            _Run(cloud=self.cloud, workspace=workspace, run=run, canceled=canceled, fault=fault).work()

        self._threads.start(f"{workspace.guid}/{run}", work)

    def cancel(self, workspace: Workspace, run: str) -> None:
        """Ask a run to end; one that has ended stays as it is."""
        if not self._threads.knows(f"{workspace.guid}/{run}"):
            return

        def change(document: Document) -> None:
            if document["metadata"]["status"] in RUNNING:
                document["metadata"]["status"] = "CancelRequested"

        self.cloud.store.update(*workspace.key, "runs", run, change=change)
        self._threads.cancel(f"{workspace.guid}/{run}")

    def close(self) -> None:
        """Ask all runs to end."""
        self._threads.close()


@dataclass
class _Run:
    """One run on its thread."""

    cloud: Cloud
    workspace: Workspace
    run: str
    canceled: Cancellation
    fault: str
    _lines: list[LineOutcome] = field(default_factory=list)
    _log: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _started: float = field(default_factory=time.time)

    def work(self) -> None:
        """Bring the run to its end, whatever happens."""
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=self.cloud.folder))
        try:
            self._phases(folder)
        except CanceledError:
            self._end("Canceled")
        except RunFailedError as error:
            self._fail(error.code, str(error))
        except RefusalError as error:
            self._fail("UserError", error.message)
        except (LlmopsError, OSError) as error:
            self._fail("SystemError", str(error))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _phases(self, folder: Path) -> None:
        self._wait()
        self._enter("Preparing")
        if self.fault == "stick_operation":
            self.canceled.wait_for(None)
        if self.fault:
            self._wait()
            raise RunFailedError("SystemError", "The compute session could not be prepared.")
        flow_run = self._prepare(folder)
        self._enter("Running", startTimeUtc=timestamp())
        self._wait()
        metrics = execute(flow_run, self.cloud.containers, is_canceled=self.canceled.is_set, on_line=self._finished)
        self._append_flow_log(flow_run.log)
        self._enter("Finalizing")
        self._write_artifacts()
        self._write_metrics(metrics)
        self._wait()
        self._complete()

    def _wait(self) -> None:
        self.canceled.wait_for(self.cloud.settings.run_phase_s)

    @property
    def _submitted(self) -> Mapping[str, Any]:
        found = self.cloud.store.get(*self.workspace.key, "runs", self.run) or {}
        submitted: Mapping[str, Any] = found["submitted"]
        return submitted

    def _prepare(self, folder: Path) -> FlowRun:
        submitted = self._submitted
        path = PurePosixPath(submitted["flowDefinitionBlobPath"])
        flow = folder / "flow" / path.parent.name
        self._download(str(path.parent), flow)
        self._copy_snapshot(flow)
        connections = self.cloud.connections_of(self.workspace.guid)
        return FlowRun(
            folder=flow,
            flow_file=path.name,
            lines=self._sources(submitted, folder),
            mapping=submitted.get("inputsMapping") or {},
            node_variant=submitted.get("nodeVariant") or "",
            overrides=_given(submitted.get("connections") or {}),
            connections={connection["name"]: connection for connection in connections},
            environment_variables={
                name: str(value) for name, value in (submitted.get("environmentVariables") or {}).items()
            },
            log=folder / "flow.log",
            python=self.cloud.python,
        )

    def _download(self, prefix: str, folder: Path) -> None:
        try:
            self.cloud.blobs.download(self.workspace.container, prefix, folder)
        except FileNotFoundError as error:
            raise RunFailedError("UserError", str(error)) from error

    def _copy_snapshot(self, flow: Path) -> None:
        for file in sorted(entry for entry in flow.rglob("*") if entry.is_file()):
            name = f"runs/{self.run}/{file.relative_to(flow).as_posix()}"
            self.cloud.blobs.write(self.workspace.container, name, file.read_bytes())

    def _sources(self, submitted: Mapping[str, Any], folder: Path) -> Sequence[Sources]:
        uri = (submitted.get("batchDataInput") or {}).get("dataUri")
        data = self._rows(uri, folder / "data") if uri else {}
        target = submitted.get("variantRunId")
        if not target:
            return [Sources(index=index, data=row) for index, row in data.items()]
        return self._sources_of_run(target, data if uri else None, folder)

    def _sources_of_run(
        self, target: str, data: Mapping[int, Mapping[str, Any]] | None, folder: Path
    ) -> Sequence[Sources]:
        """Line up the rows with the lines of a run that completed; the others are left out, as in the service."""
        document = self.cloud.store.get(*self.workspace.key, "runs", target) or {}
        of_run = (document["submitted"].get("batchDataInput") or {}).get("dataUri")
        run_rows = self._rows(of_run, folder / "run-data") if of_run else {}
        lines = (self.cloud.store.get(*self.workspace.key, "run-lines", target) or {"lines": []})["lines"]
        outputs = {line["index"]: line["output"] for line in lines if line["output"] is not None}
        indexes = sorted(outputs if data is None else outputs.keys() & data.keys())
        return [
            Sources(
                index=index,
                data=(data or {}).get(index, {}),
                run_inputs=run_rows.get(index, {}),
                run_outputs=outputs[index],
            )
            for index in indexes
        ]

    def _rows(self, uri: str, folder: Path) -> Mapping[int, Mapping[str, Any]]:
        path = data_path(self.cloud, self.workspace, uri)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / PurePosixPath(path).name
        try:
            file.write_bytes(self.cloud.blobs.read(self.workspace.container, path))
        except FileNotFoundError as error:
            raise RunFailedError("UserError", f"The data cannot be read: {error}") from error
        return {row.number: row.values for row in read_rows(file)}

    def _finished(self, outcome: LineOutcome) -> None:
        with self._lock:
            self._lines.append(outcome)
            lines = [_child_run(self.run, line) for line in self._lines]
        self.cloud.store.put(*self.workspace.key, "run-lines", self.run, document={"lines": lines})
        self._say(f"execution.bulk     INFO     Finished {len(lines)} lines.")
        if outcome.error is not None:
            self._say(f"execution.bulk     ERROR    Line {outcome.index} failed: {outcome.error['message']}")

    def _say(self, text: str) -> None:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S +0000", time.gmtime())
        with self._lock:
            self._log.append(f"{stamp} {text}\n")
            document = {"text": "".join(self._log)}
        self.cloud.store.put(*self.workspace.key, "run-logs", self.run, document=document)

    def _append_flow_log(self, log: Path) -> None:
        if log.exists() and (text := log.read_text("utf-8", "replace").strip()):
            self._say(f"execution.flow     INFO     What the flow printed:\n{text}")

    def _write_artifacts(self) -> None:
        lines = sorted(self._lines, key=lambda line: line.index)
        prefix = artifacts_prefix(self.run)
        outputs = [{"line_number": line.index, **line.outputs} for line in lines if line.outputs is not None]
        files = {"flow_outputs/output.jsonl": outputs, "instance_results.jsonl": [_instance(line) for line in lines]}
        for start in range(0, len(lines), _MOST_LINES_IN_FILE):
            part = lines[start : start + _MOST_LINES_IN_FILE]
            name = f"flow_artifacts/{start:09d}_{start + _MOST_LINES_IN_FILE - 1:09d}.jsonl"
            files[name] = [{"line_number": line.index, "run_info": _child_run(self.run, line)} for line in part]
        for name, rows in files.items():
            self._write(prefix + name, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
        self._write(f"{prefix}meta.json", json.dumps({"batch_size": _MOST_LINES_IN_FILE}))

    def _write(self, name: str, text: str) -> None:
        self.cloud.blobs.write(self.workspace.container, name, text.encode("utf-8", "replace"))

    def _write_metrics(self, metrics: Mapping[str, Any]) -> None:
        failed = sum(line.error is not None for line in self._lines)
        system = {"__pf__.lines.completed": len(self._lines) - failed, "__pf__.lines.failed": failed}
        document = {"metrics": {**system, **metrics}, "createdUtc": timestamp()}
        self.cloud.store.put(*self.workspace.key, "run-metrics", self.run, document=document)

    def _complete(self) -> None:
        self.canceled.require_unset()
        region, workspace = self.cloud.settings.region, self.workspace.name
        place = f"azureml://locations/{region}/workspaces/{workspace}/data"
        outputs = {
            kind: {"assetId": f"{place}/azureml_{self.run}_output_data_{kind}/versions/1", "type": "UriFolder"}
            for kind in ("debug_info", "flow_outputs")
        }
        failed = [line for line in self._lines if line.error is not None]
        changes: dict[str, Any] = {"outputs": outputs}
        if failed:
            changes["error"] = _partial_failure(failed, len(self._lines))
        self._end("Completed", **changes)

    def _fail(self, code: str, message: str) -> None:
        self._say(f"execution          ERROR    {message}")
        error = {"code": code, "message": message, "messageFormat": message, "innerError": {"code": "RunFailed"}}
        self._end("Failed", error={"error": error})

    def _end(self, status: str, **changes: Any) -> None:
        duration = time.strftime("%H:%M:%S", time.gmtime(time.time() - self._started))
        self._enter(status, endTimeUtc=timestamp(), duration=duration, **changes)

    def _enter(self, status: str, **changes: Any) -> None:
        def change(document: Document) -> None:
            document["metadata"].update(status=status, **changes)

        if status in RUNNING:
            self.canceled.require_unset()
        self.cloud.store.update(*self.workspace.key, "runs", self.run, change=change)
        self._say(f"execution          INFO     The run is {status}.")


def _given(connections: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    return {
        node: {name: value for name, value in override.items() if value is not None}
        for node, override in connections.items()
    }


def _child_run(run: str, line: LineOutcome) -> dict[str, Any]:
    error = line.error
    return {
        "run_id": f"{run}_{line.index}",
        "parent_run_id": run,
        "root_run_id": run,
        "index": line.index,
        "status": "Failed" if error else "Completed",
        "inputs": {**line.inputs, "line_number": line.index},
        "output": None if line.outputs is None else dict(line.outputs),
        "error": None if error is None else _line_error(error),
        "system_metrics": {"duration": line.duration_s},
        "metrics": None,
        "api_calls": None,
    }


def _line_error(error: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "message": error["message"],
        "code": "UserError",
        "innerError": {"code": "ToolExecutionError", "innerError": None},
        "additionalInfo": [
            {"type": "ToolExecutionErrorDetails", "info": {"type": error["type"], "message": error["message"]}}
        ],
        "referenceCode": f"Tool/{error['node'] or ''}",
    }


def _instance(line: LineOutcome) -> dict[str, Any]:
    inputs = {f"inputs.{name}": value for name, value in line.inputs.items()}
    return {
        "line_number": line.index,
        "status": "Failed" if line.error else "Completed",
        **inputs,
        **(line.outputs or {}),
    }


def _partial_failure(failed: Sequence[LineOutcome], total: int) -> dict[str, Any]:
    """Describe a run that completed although lines of it failed."""
    first = failed[0].error or {}
    counts = {"totalChildRuns": total, "userErrorChildRuns": len(failed), "systemErrorChildRuns": 0, "errorDetails": []}
    error = {
        "code": "UserError",
        "message": f"{len(failed)} of {total} lines failed; the first: {first.get('message')}",
        "messageFormat": json.dumps(counts),
        "innerError": {"code": "ToolExecutionError"},
    }
    return {"error": error}


def require_submittable(cloud: Cloud, workspace: Workspace, submitted: Mapping[str, Any]) -> None:
    """Refuse what no run can be made of.

    Raises:
        RefusalError: 400, something is missing.
    """
    if not submitted.get("flowDefinitionBlobPath"):
        raise user_error("A run needs 'flowDefinitionBlobPath'.")
    target = submitted.get("variantRunId")
    if not target:
        return
    found = cloud.store.get(*workspace.key, "runs", target)
    if found is None:
        raise user_error(f"The run '{target}' was not found.")
    if found["metadata"]["status"] != "Completed":
        raise user_error(f"The run '{target}' is not completed; it is {found['metadata']['status']}.")
