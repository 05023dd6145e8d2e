"""A project whose environments are workspaces of the emulator, and the commands of delivery as a user calls them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from llmops.backends.azure.arm import Arm
from llmops.backends.azure.session import open_session
from llmops.backends.registry import Delivery, open_delivery
from llmops.commands.context import Context
from llmops.commands.deploy import deploy
from llmops.commands.promote import promote
from llmops.commands.register import register
from llmops.commands.rollback import rollback
from llmops.commands.targets import Tools
from llmops.config.layers import Options
from llmops.config.load import load_project
from llmops.core.endpoint import Endpoint
from llmops.core.rollout_state import read_state
from llmops.emulator.emulator import Emulator
from llmops.errors import LlmopsError
from llmops.releases import ModelRecord
from tests.azure.conftest import GROUP, SUBSCRIPTION, unique
from tests.commands.calls import Silence, call
from tests.projects import TinyProject, make_project, wait_for

ENVIRONMENT = """\
backend: azure
endpoint: ENDPOINT
requires: {verdict: false}
rollout: {strategy: canary, steps: [{percent: 50, bake_s: 0}], bake_s: 0, evaluate: false, probe_rows: 1, lease_s: 10}
azure:
  subscription_id: SUBSCRIPTION
  resource_group: GROUP
  workspace: WORKSPACE
  registry: "REGISTRY"
  credentials: [environment]
  retries: {attempts: 4, first_wait_s: 0.01, longest_wait_s: 0.05, busy_s: 30}
serving: {max_queue_wait_s: 30}
"""

_LONGEST_SLEEP_S = 0.3


class QuickClock:
    """The real time, in which waiting passes quickly: seconds between two looks are a part of one."""

    def __init__(self) -> None:
        self._skipped_s = 0.0

    def now(self) -> float:
        """See `Clock.now`."""
        return time.time() + self._skipped_s

    def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        slept_s = min(seconds, _LONGEST_SLEEP_S)
        time.sleep(slept_s)
        self._skipped_s += seconds - slept_s


@dataclass
class Rehearsal:
    """One project with the environments `dev` and `prod`; `out` and `said` is what commands wrote.

    Attributes:
        registries: environment to the registry that keeps its versions; its workspace does when it has none.
    """

    project: TinyProject
    emulator: Emulator
    workspaces: dict[str, str] = field(default_factory=dict)
    registries: dict[str, str] = field(default_factory=dict)
    out: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("dev", "prod"):
            self.workspaces[name] = unique(name)
            self.new_endpoint(name)

    def new_workspace(self, environment: str) -> None:
        """Move an environment to a workspace that nobody used."""
        self._delete_endpoint(environment)
        self.workspaces[environment] = unique(environment)
        self.new_endpoint(environment)

    def new_endpoint(self, environment: str) -> str:
        """Move an environment to an endpoint that does not exist; the one before goes, because Azure allows few."""
        self._delete_endpoint(environment)
        name = unique(f"sweep-{environment}")
        text = ENVIRONMENT.replace("ENDPOINT", name).replace("WORKSPACE", self.workspaces[environment])
        text = text.replace("SUBSCRIPTION", SUBSCRIPTION).replace("GROUP", GROUP)
        text = text.replace("REGISTRY", self.registries.get(environment, ""))
        self.project.write(f"config/environments/{environment}.yaml", text)
        return name

    def _delete_endpoint(self, environment: str) -> None:
        if not (self.project.root / f"config/environments/{environment}.yaml").exists():
            return
        found = load_project(self.project.root).environments[environment]
        arm = Arm(open_session(found, self.project.root / ".llmops", self.emulator.environment()))
        path, version = arm.path(f"onlineEndpoints/{found.endpoint}"), "2022-02-01-preview"
        if arm.get(path, version=version, what="look") is not None:
            reply = arm.send("DELETE", path, version=version, what="clean up")
            arm.settle(path, version=version, what="clean up", reply=reply, timeout_s=60)
        arm.close()

    def change_flow(self, note: str) -> None:
        """Give the flow other content that answers the same."""
        path = "flows/answer/answer.py"
        text = (self.project.root / path).read_text(encoding="utf-8").partition("\n# note")[0]
        self.project.write(path, f"{text.rstrip()}\n# note {note}\n")

    def register(self, environment: str = "dev") -> int:
        flags = Options(environment=environment)
        return self._command(lambda: call(self, register, without_verdict="a test", flags=flags))

    def deploy(self, environment: str = "dev", version: str | None = None) -> int:
        return self._command(lambda: call(self, deploy, environment=environment, version=version))

    def promote(self) -> int:
        return self._command(lambda: call(self, promote))

    def rollback(self, environment: str = "dev") -> int:
        return self._command(lambda: call(self, rollback, environment=environment))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the real command line in a process of its own."""
        return self.project.start(*arguments, env=self.emulator.environment())

    @property
    def context(self) -> Context:
        return Context(
            folder=self.project.root,
            env=self.emulator.environment(),
            write=self.out.append,
            say=self.said.append,
            command=self.out.append,
            progress=Silence(),
        )

    @property
    def tools(self) -> Tools:
        return Tools(open_delivery=open_delivery, clock=QuickClock())

    def look(self, environment: str) -> tuple[Endpoint | None, list[ModelRecord]]:
        """Observe an environment's endpoint and its registered versions."""
        found = load_project(self.project.root).environments[environment]
        with open_delivery(found, self.project.root / ".llmops", self.emulator.environment(), print) as delivery:
            return self._look(delivery, found.endpoint)

    def serving(self, environment: str) -> Mapping[str, int]:
        """Say which versions serve how much; nothing but what a rollout that is over leaves may be there."""
        endpoint, models = self.look(environment)
        assert len({(one.name, one.digest) for one in models}) == len(models), "a version was registered twice"
        if endpoint is None:
            return {}
        versions = [one.version for one in endpoint.deployments.values() if one.status == "healthy"]
        assert len(versions) == len(set(versions)), f"several deployments of one version: {versions}"
        assert read_state(endpoint).underway is None, "a rollout is not over"
        return {endpoint.deployments[name].version: share for name, share in endpoint.traffic.items()}

    def let_lease_expire(self, environment: str) -> None:
        """Wait until whoever could not give the lease back has lost it."""
        found = load_project(self.project.root).environments[environment]
        with open_delivery(found, self.project.root / ".llmops", self.emulator.environment(), print) as delivery:
            wait_for(lambda: delivery.endpoints.read_lease(found.endpoint) is None)

    def _look(self, delivery: Delivery, endpoint: str) -> tuple[Endpoint | None, list[ModelRecord]]:
        return delivery.endpoints.observe(endpoint), list(delivery.registry.list_models())

    def _command(self, command: Callable[[], int]) -> int:
        self.out.clear()
        self.said.clear()
        try:
            return int(command())
        except LlmopsError as error:
            self.said.append(str(error))
            return int(error.exit_code)


def in_folder(root: Path, emulator: Emulator, **registries: str) -> Rehearsal:
    """Build a rehearsal with the tiny project; a registry keeps the versions of the environments that name one."""
    return Rehearsal(make_project(root), emulator, registries=registries)
