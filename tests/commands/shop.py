"""A checked project and the fake backend behind its environments, for the commands of delivery."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmops.backends.fake import Behaviour, FakeBackend, Fault
from llmops.backends.protocols import Answer
from llmops.backends.registry import Delivery
from llmops.commands.context import Context
from llmops.commands.deploy import deploy
from llmops.commands.models import list_models, show_model, verify_model
from llmops.commands.promote import promote
from llmops.commands.register import register
from llmops.commands.rollback import rollback
from llmops.commands.status import status
from llmops.commands.targets import Tools
from llmops.config.model import Environment
from llmops.hosts.detect import NONE
from llmops.hosts.host import Host
from tests.commands.calls import Silence, call
from tests.projects import TinyProject, make_project

ENVIRONMENT = """\
backend: local
rollout:
  steps: [{percent: 10, bake_s: 20}, {percent: 50, bake_s: 10}]
  bake_s: 10
"""


def right(inputs: Mapping[str, Any]) -> Answer:
    """Answer as the project's flow does."""
    return Answer(status=200, outputs={"answer": inputs["question"][::-1]}, duration_s=0.01)


@dataclass
class Shop:
    """One project, one backend, and the commands as a user would call them.

    Attributes:
        out: what was written to standard output, one entry per command; said: to standard error.
        faults: of the next driver; host: the CI system around the commands.
    """

    project: TinyProject
    backend: FakeBackend
    env: dict[str, str] = field(default_factory=dict)
    out: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    faults: Sequence[Fault] = ()
    host: Host = NONE

    @property
    def context(self) -> Context:
        return Context(
            folder=self.project.root,
            env=self.env,
            write=self.out.append,
            command=self.out.append,
            say=self.said.append,
            progress=Silence(),
            host=self.host,
        )

    @property
    def tools(self) -> Tools:
        return Tools(open_delivery=self._open, clock=self.backend.clock)

    def register(self, **options: Any) -> dict[str, Any]:
        return self._json(lambda: call(self, register, json_output=True, **options))

    def deploy(self, environment: str = "dev", version: str | None = None, **options: Any) -> int:
        return call(self, deploy, environment=environment, version=version, **options)

    def promote(self, **options: Any) -> int:
        return call(self, promote, **options)

    def rollback(self, environment: str = "dev", to: str | None = None) -> int:
        return call(self, rollback, environment=environment, to=to)

    def status(self) -> dict[str, Any]:
        return self._json(
            lambda: status(context=self.context, tools=self.tools, experiment=None, environment=None, json_output=True)
        )

    def models(self) -> list[dict[str, Any]]:
        shown = self._json(
            lambda: list_models(context=self.context, tools=self.tools, environment="dev", json_output=True)
        )
        models: list[dict[str, Any]] = shown["models"]
        return models

    def show(self) -> dict[str, Any]:
        return self._json(
            lambda: show_model(
                context=self.context, tools=self.tools, model="tiny", version=None, environment="dev", json_output=True
            )
        )

    def show_after_register(self) -> dict[str, Any]:
        self.register()
        return self.show()

    def verify(self, package: Path | None = None) -> tuple[int, dict[str, str]]:
        code = verify_model(
            context=self.context,
            tools=self.tools,
            model="tiny",
            version=None,
            environment="dev",
            package=package,
            json_output=True,
        )
        return code, {link["name"]: link["state"] for link in json.loads(self.out[-1])["links"]}

    def change_flow(self, text: str = "# another version\n") -> None:
        """Change the flow, so that its content is another, and check it."""
        path = self.project.root / "flows/answer/answer.py"
        path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")
        self.check()

    def check(self) -> None:
        answer = self.project.run("check", "--baseline", "none")
        assert answer.code == 0, answer.err

    def behave(self, digest: str, behaviour: Behaviour) -> None:
        self.backend.behaviours[digest] = behaviour

    def serving(self, environment: str = "dev") -> dict[str, int]:
        """Say which versions serve how much."""
        endpoint = self.backend.see(f"tiny-{environment}")
        if endpoint is None:
            return {}
        return {endpoint.deployments[name].version: percent for name, percent in endpoint.traffic.items()}

    def packages(self) -> list[Path]:
        """List the folders of the registry."""
        assert self.backend.folder
        return sorted(self.backend.folder.iterdir())

    def rollouts(self) -> list[dict[str, Any]]:
        """Read every record of a rollout, oldest first."""
        folder = self.project.root / ".llmops/rollouts"
        paths = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        return [json.loads(path.read_text(encoding="utf-8")) for path in paths]

    @contextmanager
    def _open(self, environment: Environment, *_: object) -> Iterator[Delivery]:
        del environment
        registry, endpoints = self.backend.connect(self.faults)
        self.faults = ()
        yield Delivery(registry, endpoints)

    def _json(self, command: Callable[[], int]) -> dict[str, Any]:
        command()
        shown: dict[str, Any] = json.loads(self.out[-1])
        return shown


class _Forever(dict[str, Behaviour]):
    """Every content answers rightly unless a test says otherwise."""

    def get(self, key: str, default: Any = None) -> Any:
        del default
        return super().get(key, Behaviour(answer=right))


def checked_project(folder: Path) -> TinyProject:
    """Make the project and its first verdict."""
    project = make_project(folder)
    for name in ("dev", "prod"):
        project.write(f"config/environments/{name}.yaml", ENVIRONMENT)
    project.commit("environments")
    answer = project.run("check", "--baseline", "none")
    assert answer.code == 0, answer.err
    return project


def open_shop(template: TinyProject, folder: Path) -> Shop:
    """Copy a checked project, and put an empty backend behind it."""
    shutil.copytree(template.root, folder / "project", ignore=shutil.ignore_patterns("__pycache__"))
    backend = FakeBackend(folder=folder / "registry", behaviours=_Forever())
    (folder / "registry").mkdir()
    return Shop(project=TinyProject(folder / "project"), backend=backend)
