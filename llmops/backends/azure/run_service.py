"""Prompt flow runs of a workspace: `promptflow.azure`, with the retries, time limits and errors that it lacks."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from llmops.backends.azure.bounded import bounded
from llmops.backends.azure.refusals import facts_of
from llmops.backends.azure.session import AzureSession
from llmops.backends.azure.shares import NO_LIMIT
from llmops.backends.azure.uploads import upload
from llmops.config.model import Budget

if TYPE_CHECKING:
    from promptflow.entities import Run

T = TypeVar("T")

PAGE = 25
"""Lines in one answer: what the service gives at once."""
MOST_LISTED = 100
"""Runs that the service lists; the SDK knows no way to the older ones."""

_ENDED = frozenset({"Completed", "Failed", "Canceled"})
_PAGES_AT_ONCE = 8
_CONFLICT = 409
_DONE = re.compile(r"Finished (\d+)(?: / \d+)? lines")


@dataclass(frozen=True, kw_only=True)
class RemoteRun:
    """A run as the workspace describes it.

    Attributes:
        status: in Azure's own words.
        error: why it failed, or how many of its lines did; empty otherwise.
        error_code: `UserError` where the flow, its data or its mapping is to blame.
        data, target: address of its data, and the run that it evaluates; empty where there is none.
        link: its page in the studio.
        share: what it may spend on models, as far as it was given a share.
    """

    name: str
    status: str
    display_name: str = ""
    description: str = ""
    error: str = ""
    error_code: str = ""
    data: str = ""
    target: str = ""
    link: str = ""
    flow: str = ""
    created_at: str = ""
    started_at: str = ""
    ended_at: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    share: Budget = NO_LIMIT

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in _ENDED


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A run to start.

    Attributes:
        name: under which it is found again; a run of that name is the same run.
        folder: of the flow.
        data: `azureml:name:version`, another address that the service knows, or a local file.
        target: name of the run whose lines are evaluated; empty for none.
        lineage: the same for every version of one flow, so that Azure keeps its compute session.
    """

    name: str
    folder: Path
    data: str
    column_mapping: Mapping[str, Any]
    target: str = ""
    variant: str = ""
    connections: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    environment_variables: Mapping[str, str] = field(default_factory=dict)
    init: Mapping[str, Any] = field(default_factory=dict)
    resources: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    display_name: str = ""
    description: str = ""
    lineage: str = ""


@dataclass(frozen=True)
class RunService:
    """The runs of one workspace.

    Args:
        session: who we are, and the clients.
        call_timeout_s: until one call is given up and made again.
    """

    session: AzureSession
    call_timeout_s: float = 120.0

    def find(self, name: str) -> RemoteRun | None:
        """Describe a run, None when there is none."""

        def look() -> RemoteRun | None:
            from promptflow._sdk._errors import RunNotFoundError

            try:
                return _describe(self.session.pf.runs.get(name))
            except RunNotFoundError:
                return None

        return self._call(f"look for the run '{name}'", look)

    def submit(self, submission: Submission) -> None:
        """Start a run; one of that name is left as it is, so a repeated call starts nothing twice."""
        with _quiet():
            self._call(f"start the run '{submission.name}'", lambda: self._submit(submission))

    def _submit(self, submission: Submission) -> None:
        from promptflow.azure._restclient.flow_service_caller import FlowRequestException

        try:
            self.session.pf.runs.create_or_update(run=_build(submission))
        except FlowRequestException as error:
            if facts_of(error).status != _CONFLICT:
                raise

    def read_lines(self, name: str, count: int) -> Iterator[dict[str, Any]]:
        """Yield the lines of a run that are there, in no order.

        The SDK stops at the first page without a line, though in an evaluation whole pages may be left out.

        Args:
            name: of the run.
            count: its lines have numbers below this.
        """
        pages = range(0, count, PAGE)
        with concurrent.futures.ThreadPoolExecutor(min(_PAGES_AT_ONCE, max(len(pages), 1))) as pool:
            for page in pool.map(lambda first: self.read_page(name, first), pages):
                yield from page

    def read_page(self, name: str, first: int) -> Sequence[dict[str, Any]]:
        """Return the lines of a run whose numbers are from `first` to `first + PAGE - 1`."""
        pf, settings = self.session.pf, self.session.settings

        def read() -> Sequence[dict[str, Any]]:
            found: Sequence[dict[str, Any]] = pf.runs._service_caller.get_child_runs(  # noqa: SLF001 see `read_lines`
                subscription_id=settings.subscription_id,
                resource_group_name=settings.resource_group,
                workspace_name=settings.workspace,
                flow_run_id=name,
                start_index=first,
                end_index=first + PAGE - 1,
            )
            return found

        return self._call(f"read lines of the run '{name}'", read)

    def read_metrics(self, name: str) -> Mapping[str, Any]:
        """Return the metrics that a completed run logged; names that end as the service's own do are not among them."""

        def read() -> Mapping[str, Any]:
            found: Mapping[str, Any] = self.session.pf.runs.get_metrics(name)
            return found

        return self._call(f"read the metrics of the run '{name}'", read)

    def read_log(self, name: str) -> str:
        """Return the log of a run so far."""

        def read() -> str:
            return str(self.session.pf.runs._get_log(name))  # noqa: SLF001 `stream` looks every ten seconds and prints

        return self._call(f"read the log of the run '{name}'", read)

    def count_finished(self, name: str) -> int:
        """Tell how many lines a run has finished, as its log says; 0 when it does not."""
        found = _DONE.findall(self.read_log(name))
        return int(found[-1]) if found else 0

    def cancel(self, name: str) -> None:
        """Ask a run to end."""
        self._call(f"cancel the run '{name}'", lambda: self.session.pf.runs.cancel(name))

    def list_newest(self) -> Sequence[RemoteRun]:
        """Describe the newest runs, newest first."""
        return self._call(
            "list the runs", lambda: [_describe(run) for run in self.session.pf.runs.list(max_results=MOST_LISTED)]
        )

    def ensure_data(self, path: Path, name: str, version: str) -> str:
        """Register a file as a data asset unless it is one, and return the asset's address.

        Args:
            path: the file.
            name: of the asset.
            version: follows from the file's digest, so that a version is always the same bytes.
        """
        address = f"azureml:{name}:{version}"
        if not self._call(f"look for the data asset '{address}'", lambda: self._has_data(name, version)):
            what = f"upload {path.name} as the data asset '{address}'"
            place = upload(self.session, path, what)
            self._call(what, lambda: self._register_data(place, name, version))
        return address

    def _has_data(self, name: str, version: str) -> bool:
        from azure.core.exceptions import ResourceNotFoundError

        try:
            self.session.ml.data.get(name, version=version)
        except ResourceNotFoundError:
            return False
        return True

    def _register_data(self, place: str, name: str, version: str) -> None:
        from azure.ai.ml.entities import Data

        description = "Uploaded by llmops; the version follows from the bytes."
        data = Data(name=name, version=version, path=place, type="uri_file", description=description)
        self.session.ml.data.create_or_update(data)

    def _call(self, what: str, work: Callable[[], T]) -> T:
        _ = self.session.pf  # building it takes long and is no part of the call
        return self.session.call(what, lambda: bounded(work, self.call_timeout_s))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the SDK's progress bars and hints out of what the command writes."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _build(submission: Submission) -> Run:
    """Build the SDK's run; `PFClient.run` would drop the resources."""
    from promptflow.entities import Run

    run = Run(
        flow=str(submission.folder),
        name=submission.name,
        data=submission.data,
        run=submission.target or None,
        column_mapping=dict(submission.column_mapping),
        variant=submission.variant or None,
        connections={node: dict(settings) for node, settings in submission.connections.items()},
        environment_variables=dict(submission.environment_variables),
        init=dict(submission.init) or None,
        resources=dict(submission.resources) or None,
        tags=dict(submission.tags),
        display_name=submission.display_name or submission.name,
        description=submission.description or None,
    )
    run._lineage_id = hashlib.sha256(submission.lineage.encode()).hexdigest()  # noqa: SLF001 else it names the copy
    return run


def _describe(run: Run) -> RemoteRun:
    error = (getattr(run, "_error", None) or {}).get("error") or {}
    tags = run.tags if isinstance(run.tags, dict) else {}
    return RemoteRun(
        name=run.name,
        status=run.status,
        display_name=run.display_name or "",
        description=run.description or "",
        error=str(error.get("message") or ""),
        error_code=str(error.get("code") or ""),
        data=str(run.data or ""),
        target=str(run.run or ""),
        link=str(run._portal_url or ""),  # noqa: SLF001 the SDK shows it nowhere else
        flow=str(run.properties.get("azureml.promptflow.flow_name") or run.flow or ""),
        created_at=_stamp(run._created_on),  # noqa: SLF001 as above
        started_at=_stamp(run._start_time),  # noqa: SLF001 as above
        ended_at=_stamp(run._end_time),  # noqa: SLF001 as above
        tags={str(name): str(value) for name, value in tags.items()},
        metrics=getattr(run, "_metrics", None) or {},
    )


def _stamp(moment: Any) -> str:
    return moment.isoformat(timespec="milliseconds") if moment else ""
