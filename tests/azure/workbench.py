"""A small project whose environments are workspaces of the emulator, and the command line in this very process.

The SDKs take seconds to import, so commands run here rather than in processes of their own.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops.cli.main import main
from tests.azure.conftest import GROUP, SUBSCRIPTION, unique
from tests.journey import environment
from tests.projects import Answer, TinyProject, make_project

ENVIRONMENT = """\
backend: azure
azure:
  subscription_id: {subscription}
  resource_group: {group}
  workspace: {workspace}
  retries: {{attempts: 4, first_wait_s: 0.01, longest_wait_s: 0.05, busy_s: 1}}
  runs: {{poll_s: {poll_s}, {runs}}}
"""


SERVING = """\
azure:
  subscription_id: {subscription}
  resource_group: {group}
  workspace: {workspace}
  registry: "{registry}"
  credentials: [environment]
  retries: {{attempts: 4, first_wait_s: 0.01, longest_wait_s: 0.05, busy_s: 30}}
  runs: {{poll_s: 0.05}}
serving: {{max_queue_wait_s: 30, {settings}}}
"""


@dataclass(frozen=True)
class Workbench(TinyProject):
    """A project with the environment `dev`, and commands that run in this process.

    Attributes:
        workspace: of the environment `dev`.
    """

    workspace: str = ""

    def environment(
        self, name: str = "dev", workspace: str = "", runs: str = "", more: str = "", poll_s: float = 0.05
    ) -> None:
        """Write an environment."""
        text = ENVIRONMENT.format(
            subscription=SUBSCRIPTION, group=GROUP, workspace=workspace or self.workspace, runs=runs, poll_s=poll_s
        )
        self.write(f"config/environments/{name}.yaml", text + more)

    def serving(
        self, name: str, workspace: str, *, registry: str = "", settings: str = "", verdict: bool = False
    ) -> None:
        """Write an environment that is deployed to, with an endpoint of its own.

        Args:
            name: of the environment.
            workspace: of the emulator.
            registry: keeps the versions instead of the workspace.
            settings: more of `serving`.
            verdict: whether it asks for one.
        """
        place = {"workspace": workspace, "registry": registry}
        more = SERVING.format(subscription=SUBSCRIPTION, group=GROUP, settings=settings, **place)
        text = environment(backend="azure", endpoint=unique(name), verdict=verdict, more=more)
        self.write(f"config/environments/{name}.yaml", text)

    def call(self, *arguments: str, env: Mapping[str, str] | None = None) -> Answer:
        """Run one command of llmops in this process."""
        out, err = io.StringIO(), io.StringIO()
        before, folder = dict(os.environ), Path.cwd()
        os.environ.update({"NO_COLOR": "1", "COLUMNS": "160", **(env or {})})
        os.chdir(self.root)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main(arguments)
        finally:
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(before)
        return Answer(code, out.getvalue(), err.getvalue())

    def check_on_azure(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Check in the environment `dev`; return the exit code and the verdict."""
        answer = self.call("check", *arguments, "--environment", "dev", "--json")
        assert answer.out, answer.err
        (result,) = json.loads(answer.out)["experiments"]
        assert result["reports"], result
        return answer.code, json.loads(Path(result["reports"]["json"]).read_text(encoding="utf-8"))

    def forget(self) -> None:
        """Forget all that was recorded, as another machine would not know it."""
        shutil.rmtree(self.root / ".llmops")

    def json(self, *arguments: str) -> Any:
        """Run a command that must succeed and return what it wrote."""
        answer = self.call(*arguments, "--json")
        assert answer.code == 0, answer.err
        return json.loads(answer.out)


def make_workbench(root: Path, workspace: str) -> Workbench:
    """Build the project."""
    make_project(root)
    bench = Workbench(root, workspace)
    bench.environment()
    return bench
