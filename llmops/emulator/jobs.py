"""Command jobs at work: their inputs are put into folders, their command runs in a shell, their outputs are kept."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from llmops.emulator.errors import RefusalError, user_error
from llmops.emulator.locations import blob_path, code_place, data_path
from llmops.emulator.threads import CanceledError, Cancellation, Threads
from llmops.errors import LlmopsError

if TYPE_CHECKING:
    from llmops.emulator.cloud import Cloud, Workspace
    from llmops.emulator.store import Document

LOG = "user_logs/std_log.txt"
_ENDED = frozenset({"Completed", "Failed", "Canceled"})
_PLACE = re.compile(r"\${{(?P<kind>inputs|outputs)\.(?P<name>\w+)}}")
_POLL_S = 0.05


def logs_prefix(job: str) -> str:
    """Name the folder of a job's logs below the workspace's container."""
    return f"ExperimentRun/dcid.{job}/"


@dataclass
class Jobs:
    """The jobs that this process executes."""

    cloud: Cloud
    _threads: Threads = field(default_factory=Threads)

    def start(self, workspace: Workspace, name: str, fault: str = "") -> None:
        """Execute a submitted job on a thread of its own.

        Args:
            workspace: that holds it.
            name: of the job; its document is in the store.
            fault: `fail_operation` or `stick_operation`; empty executes it.
        """

        def work(canceled: Cancellation) -> None:
            _Job(cloud=self.cloud, workspace=workspace, name=name, canceled=canceled, fault=fault).work()

        self._threads.start(f"{workspace.guid}/{name}", work)

    def cancel(self, workspace: Workspace, name: str) -> None:
        """Ask a job to end; one that has ended stays as it is."""
        if not self._threads.knows(f"{workspace.guid}/{name}"):
            return

        def change(document: Document) -> None:
            if document["properties"]["status"] not in _ENDED:
                document["properties"]["status"] = "CancelRequested"

        self.cloud.store.update(*workspace.key, "jobs", name, change=change)
        self._threads.cancel(f"{workspace.guid}/{name}")

    def close(self) -> None:
        """Ask all jobs to end."""
        self._threads.close()


@dataclass
class _Job:
    """One job on its thread."""

    cloud: Cloud
    workspace: Workspace
    name: str
    canceled: Cancellation
    fault: str
    _logged: str | None = None

    def work(self) -> None:
        """Bring the job to its end, whatever happens."""
        folder = Path(tempfile.mkdtemp(prefix="job-", dir=self.cloud.folder))
        try:
            self._phases(folder)
        except CanceledError:
            self._enter("Canceled")
        except RefusalError as error:
            self._write_log(error.message)
            self._enter("Failed")
        except (LlmopsError, OSError) as error:
            self._write_log(str(error))
            self._enter("Failed")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _phases(self, folder: Path) -> None:
        for phase in ("Preparing", "Queued"):
            self._wait()
            self._enter(phase)
        if self.fault == "stick_operation":
            self.canceled.wait_for(None)
        self._wait()
        if self.fault:
            raise user_error("The compute could not be prepared.")
        asked = self._asked
        places = self._places(asked, folder)
        self._enter("Running")
        code = self._execute(asked, places, folder)
        self._enter("Finalizing")
        self._keep_outputs(asked, places)
        self._enter("Completed" if code == 0 else "Failed")

    def _wait(self) -> None:
        self.canceled.wait_for(self.cloud.settings.run_phase_s)

    @property
    def _asked(self) -> Mapping[str, Any]:
        found = self.cloud.store.get(*self.workspace.key, "jobs", self.name) or {}
        properties: Mapping[str, Any] = found["properties"]
        return properties

    def _places(self, asked: Mapping[str, Any], folder: Path) -> Mapping[str, Path]:
        """Put code and inputs into folders and make those of the outputs; `kind.name` to path."""
        code = folder / "code"
        code.mkdir()
        if asked.get("codeId"):
            self.cloud.blobs.download(*code_place(self.cloud, self.workspace, str(asked["codeId"])), code)
        places = {"code": code}
        for name, entry in (asked.get("inputs") or {}).items():
            places[f"inputs.{name}"] = self._download_input(entry, folder / "inputs" / name)
        for name in asked.get("outputs") or {}:
            places[f"outputs.{name}"] = folder / "outputs" / name
            places[f"outputs.{name}"].mkdir(parents=True)
        return places

    def _download_input(self, entry: Mapping[str, Any], folder: Path) -> Path:
        path = data_path(self.cloud, self.workspace, str(entry.get("uri")))
        folder.mkdir(parents=True)
        if entry.get("jobInputType") == "uri_file":
            file = folder / PurePosixPath(path).name
            file.write_bytes(self.cloud.blobs.read(self.workspace.container, path))
            return file
        self.cloud.blobs.download(self.workspace.container, path, folder)
        return folder

    def _execute(self, asked: Mapping[str, Any], places: Mapping[str, Path], folder: Path) -> int:
        command = _PLACE.sub(lambda match: str(places[f"{match['kind']}.{match['name']}"]), str(asked["command"]))
        log = folder / "log.txt"
        with log.open("wb") as output:
            child = subprocess.Popen(
                ["/bin/sh", "-c", command],
                cwd=places["code"],
                env=self._environment(asked),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                self._await(child, log)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                self._write_log(log.read_text("utf-8", "replace"))
        return child.returncode

    def _await(self, child: subprocess.Popen[bytes], log: Path) -> None:
        while child.poll() is None:
            self.canceled.wait_for(_POLL_S)
            self._write_log(log.read_text("utf-8", "replace"))

    def _environment(self, asked: Mapping[str, Any]) -> dict[str, str]:
        place = {
            "AZUREML_RUN_ID": self.name,
            "AZUREML_ARM_SUBSCRIPTION": self.workspace.subscription,
            "AZUREML_ARM_RESOURCEGROUP": self.workspace.resource_group,
            "AZUREML_ARM_WORKSPACE_NAME": self.workspace.name,
        }
        given = {name: str(value) for name, value in (asked.get("environmentVariables") or {}).items()}
        clean = self.cloud.containers.environ
        found = self.cloud.job_environment.variables(asked.get("identity"))
        path = os.pathsep.join(filter(None, [str(Path(self.cloud.python).parent), clean.get("PATH")]))
        return {**clean, **found, **place, **given, "PATH": path}

    def _keep_outputs(self, asked: Mapping[str, Any], places: Mapping[str, Path]) -> None:
        for name, entry in (asked.get("outputs") or {}).items():
            uri = str((entry or {}).get("uri") or f"azureml://datastores/x/paths/azureml/{self.name}/{name}/")
            prefix = blob_path(uri).rstrip("/")
            folder = places[f"outputs.{name}"]
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                target = f"{prefix}/{file.relative_to(folder).as_posix()}"
                self.cloud.blobs.write(self.workspace.container, target, file.read_bytes())

    def _write_log(self, text: str) -> None:
        if text != self._logged:
            content = text.encode("utf-8", "replace")
            self.cloud.blobs.write(self.workspace.container, logs_prefix(self.name) + LOG, content)
        self._logged = text

    def _enter(self, status: str) -> None:
        if status not in _ENDED:
            self.canceled.require_unset()

        def change(document: Document) -> None:
            document["properties"]["status"] = status

        self.cloud.store.update(*self.workspace.key, "jobs", self.name, change=change)
