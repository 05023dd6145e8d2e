"""The unmodified SDKs against one emulator, in the environment that `make test-azure` sets up.

Elsewhere the SDKs are not installed, and nothing of this folder is collected.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import os
import random
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pytest

from llmops.backends.azure.quiet import quiet
from llmops.backends.azure.session import all_sessions
from llmops.config.model import Azure, AzureRetries
from llmops.config.model import Environment as BackendEnvironment
from llmops.emulator.arm import endpoints
from llmops.emulator.azurite_process import install_azurite
from llmops.emulator.certificates import make_certificates
from llmops.emulator.cloud import Cloud, Workspace
from llmops.emulator.emulator import Emulator
from llmops.emulator.faults import Fault
from llmops.emulator.journal import Entry
from llmops.emulator.settings import Settings
from llmops.engine.standin.process import StandInProcess

T = TypeVar("T")

HAS_SDKS = any(found.name == "promptflow-azure" for found in importlib.metadata.distributions())
collect_ignore_glob = [] if HAS_SDKS else ["*_test.py"]

HOME = Path(tempfile.mkdtemp(prefix="llmops-tests-promptflow-"))

if TYPE_CHECKING or HAS_SDKS:
    # Telemetry is switched off, and trust decided, when the SDKs are imported.
    CERTIFICATES = make_certificates(HOME / "certificates", "eastus")
    os.environ.update({**quiet(HOME), "SSL_CERT_FILE": str(CERTIFICATES.authority)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from azure.ai.ml import MLClient
        from azure.ai.ml.entities import ManagedOnlineDeployment, ManagedOnlineEndpoint, Model
        from azure.identity import DefaultAzureCredential
        from promptflow.azure import PFClient
        from promptflow.entities import Run


FLOWS = Path(__file__).parent / "flows"
SUBSCRIPTION, GROUP = "00000000-0000-0000-0000-00000000000a", "rehearsal"
FAST = AzureRetries(attempts=4, first_wait_s=0.01, longest_wait_s=0.05, busy_s=30.0)
SETTINGS = Settings(operation_s=0.05, poll_ms=20, run_phase_s=0.02, core_quota=10_000)
_NUMBERS = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `make test-azure-full` ask for everything."""
    parser.addoption("--full", action="store_true", help="try every fault at every request, and every kill")


FAULTS: Mapping[str, Mapping[str, Any]] = {
    "429": {"status": 429},
    "429 with Retry-After": {"status": 429, "headers": {"Retry-After": "1"}},
    "500": {"status": 500},
    "503": {"status": 503},
    "reset": {"effect": "reset"},
    "time-out": {"effect": "hang", "delay_s": 0.2},
    "lost answer": {"effect": "lose_answer"},
}
"""What may go wrong with one request, by name; arguments of `Fault`."""


class Extent(NamedTuple):
    """How much is tried: all of it, or a sample that is the same each time."""

    is_full: bool

    def pick(self, points: Sequence[T], count: int, seed: str, *, most: int | None = None) -> Iterator[T]:
        """Choose points: `count` of them, or `most` (all when None) when everything is tried, which shows how far it is."""
        wanted = (len(points) if most is None else most) if self.is_full else count
        chosen = random.Random(seed).sample(points, min(wanted, len(points)))
        return _noted(chosen) if self.is_full else iter(chosen)


def _noted(points: Sequence[T]) -> Iterator[T]:
    """Yield points, and write down in `build/sweeps/` which of them is being tried: all of them take hours."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", os.environ["PYTEST_CURRENT_TEST"].partition("::")[2].partition(" (")[0])
    file = Path("build/sweeps") / f"{name.strip('-')}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    for number, point in enumerate(points, 1):
        file.write_text(f"{number} of {len(points)}: {point}\n", encoding="utf-8")
        yield point


@pytest.fixture(scope="session")
def extent(request: pytest.FixtureRequest) -> Extent:
    """What the command line asks for."""
    return Extent(bool(request.config.getoption("--full", default=False)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder; the SDKs warn about much that is none of ours."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.azure)
            item.add_marker(pytest.mark.filterwarnings("default"))


def pytest_unconfigure() -> None:
    """Remove what prompt flow wrote, and close what sessions keep open."""
    for session in all_sessions():
        session.close()
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def emulator(root: Path, open_environment: dict[str, str]) -> Iterator[Emulator]:
    """The one emulator, and this process pointed to it."""
    light = root / ".venv" / "bin" / "python"  # without the SDKs, flows load in half the time
    with running_emulator(root, open_environment, str(light if light.exists() else sys.executable)) as running:
        yield running


@contextlib.contextmanager
def running_emulator(root: Path, env: Mapping[str, str], python: str) -> Iterator[Emulator]:
    """Run an emulator, with this process pointed to it, for the length of a `with` block."""
    script = install_azurite(root / ".cache", env)
    before = dict(os.environ)
    with Emulator(azurite=script, settings=SETTINGS, certificates=CERTIFICATES, python=python) as running:
        os.environ.update({**running.environment(), **quiet(HOME)})
        yield running
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(autouse=True)
def nothing_left(emulator: Emulator) -> Iterator[None]:
    """No test leaves faults, settings or endpoints, asks for what is not emulated, or tries to reach another machine.

    Endpoints go because Azure allows few in a region, which all tests share; those of wider fixtures stay.
    """
    cloud = emulator.cloud
    first, refused, kept = cloud.journal.last_number(), len(cloud.journal.refused()), _endpoints(cloud)
    yield
    cloud.faults.remove()
    cloud.operations.cancel_all()
    for workspace, name in _endpoints(cloud) - kept:
        endpoints.forget(cloud, Workspace.from_id(workspace), name)
    cloud.settings = SETTINGS
    cloud.change_settings()
    unknown = [entry for entry in cloud.journal.entries(after=first) if entry.status == 405]
    assert unknown == []
    assert cloud.journal.refused()[refused:] == []


def _endpoints(cloud: Cloud) -> set[tuple[str, str]]:
    return {(one["workspace"], one["endpoint"]) for one in cloud.store.children("endpoint-names")}


@pytest.fixture(scope="session")
def credential(emulator: Emulator) -> DefaultAzureCredential:
    """Found as on any machine: from the environment."""
    del emulator
    return DefaultAzureCredential()


def environment(stem: str, **azure: Any) -> BackendEnvironment:
    """Name an environment in a workspace that nobody else has, with small waits."""
    values = {
        "subscription_id": SUBSCRIPTION,
        "resource_group": GROUP,
        "workspace": unique(stem),
        "credentials": ("environment",),
        "retries": FAST,
        **azure,
    }
    return BackendEnvironment(name="dev", backend="azure", azure=Azure(**values))


def unique(stem: str) -> str:
    """Make a name that no other test has."""
    return f"{stem}-{next(_NUMBERS)}"


@pytest.fixture
def ml(credential: DefaultAzureCredential) -> MLClient:
    """A client of an empty workspace."""
    return make_ml(credential, unique("workspace"))


def make_ml(credential: Any, workspace: str) -> MLClient:
    """Make a client of a workspace."""
    return MLClient(credential, SUBSCRIPTION, GROUP, workspace, show_progress=False)


@pytest.fixture
def pf(credential: DefaultAzureCredential) -> PFClient:
    """A prompt flow client of an empty workspace."""
    return PFClient(credential, SUBSCRIPTION, GROUP, unique("workspace"))


@pytest.fixture(scope="session")
def shared(credential: DefaultAzureCredential) -> PFClient:
    """A prompt flow client of a workspace that tests share and only read from."""
    return PFClient(credential, SUBSCRIPTION, GROUP, unique("shared"))


@dataclass(frozen=True)
class Requests:
    """What the emulator was asked since a test began."""

    emulator: Emulator
    first: int

    def all(self, method: str = "", part: str = "") -> Sequence[Entry]:
        """Return the requests of a method whose path ends with a part or holds it."""
        entries = self.emulator.cloud.journal.entries(after=self.first)
        return [entry for entry in entries if entry.method == (method or entry.method) and part in entry.path]

    def statuses(self, method: str = "", part: str = "") -> list[int]:
        """Return the statuses that these were answered with."""
        return [entry.status for entry in self.all(method, part)]


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandInProcess]:
    """A model on this machine."""
    with StandInProcess() as process:
        yield process


@pytest.fixture
def requests(emulator: Emulator) -> Requests:
    """The record of this test's own requests."""
    return Requests(emulator, emulator.cloud.journal.last_number())


@pytest.fixture
def inject(emulator: Emulator) -> Callable[..., None]:
    """Add a fault."""

    def add(**rule: Any) -> None:
        emulator.cloud.faults.add(Fault(**rule))

    return add


@pytest.fixture
def settings(emulator: Emulator) -> Callable[..., None]:
    """Change settings for this test."""
    return emulator.cloud.change_settings


def register(ml: MLClient, flow: str = "shout", name: str = "shouter") -> Model:
    """Register a flow as a model."""
    return ml.models.create_or_update(Model(name=name, path=str(FLOWS / flow), type="custom_model"))


def make_endpoint(ml: MLClient, **more: Any) -> str:
    """Create an endpoint and return its name."""
    name = unique("endpoint")
    ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=name, **more)).result()
    return name


def deployment(endpoint: str, name: str = "blue", model: str = "azureml:shouter:1", **more: Any) -> Any:
    """Describe a deployment without an environment of its own."""
    settings = {"instance_type": "Standard_DS3_v2", "instance_count": 1, **more}
    return ManagedOnlineDeployment(name=name, endpoint_name=endpoint, model=model, **settings)


def set_traffic(ml: MLClient, endpoint: str, **shares: int) -> None:
    """Set the traffic as the SDK wants it: read, change, write."""
    described = ml.online_endpoints.get(endpoint)
    described.traffic = shares
    ml.online_endpoints.begin_create_or_update(described).result()


def submit(pf: PFClient, **more: Any) -> Run:
    """Submit a run of the flow `shout` under a new name."""
    values = {"flow": str(FLOWS / "shout"), "column_mapping": {"text": "${data.text}"}, **more}
    return pf.runs.create_or_update(run=Run(name=more.pop("name", None) or unique("run"), **values))


def wait(pf: PFClient, run: str, *statuses: str) -> Run:
    """Wait until a run has one of the statuses; the SDK's own way looks every ten seconds."""
    wanted = statuses or ("Completed", "Failed", "Canceled")
    deadline = time.monotonic() + 90
    while (found := pf.runs.get(run)).status not in wanted:
        assert time.monotonic() < deadline, found.status
        time.sleep(0.1)
    return found


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Three rows, of which the second makes the flow fail."""
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"text": "hello", "expected": "HELLO"}\n{"text": "quiet", "expected": ""}\n{"text": "bye", "expected": "bye"}\n'
    )
    return path
