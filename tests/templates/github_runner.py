"""Runs a reusable workflow as GitHub does: jobs in their order, matrices, conditions, steps by bash.

Expressions are GitHub's own. Doubles, which refuse inputs that the pinned version does not have: checkout (a real clone),
setup-python (a `python` on the path that answers the installation of the driver with the driver under test), cache (kept
in a folder), the two artifact actions (kept in a folder), azure/login and attest (only noted). An environment's reviewers are a list of those who refuse. There is no sandbox, no image, no
time limit, and permissions are looked at, not enforced.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from tests.hosts.surroundings import read_outputs
from tests.templates.expressions import Expressions

INPUTS = json.loads((Path(__file__).parents[2] / "tools" / "templates" / "actions.json").read_text(encoding="utf-8"))

PYTHON_DOUBLE = """\
#!/bin/sh
if [ "$1 $2 $3 $4" = "-m tools.setup_venv run --venv" ]; then
    test -f tools/setup_venv.py || exit 97
    mkdir -p "$5/bin" && ln -sf "{driver}" "$5/bin/llmops"
else
    exec "{python}" "$@"
fi
"""


@dataclass
class Job:
    """What became of one job, or of one leg of its matrix."""

    name: str
    result: str = "success"
    log: list[str] = field(default_factory=list)
    summary: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    secrets_seen: set[str] = field(default_factory=set)
    logins: list[str] = field(default_factory=list)
    attested: dict[str, str] = field(default_factory=dict)
    restored: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Everything that the runner read of the job's output."""
        return "\n".join(self.log)


@dataclass
class Runner:
    """One run of one workflow.

    Attributes:
        root: the checkout that the workflow comes from.
        folder: where the run keeps its files.
        origin: repository to check out; commit: the commit of it.
        github: the context of that name; event goes to the event file.
        env: more environment variables of every step, as the runner sets them.
        vars: the context of that name.
        rejected: environments whose reviewers refuse.
        state: folder that stands for the cloud: registry and endpoints of the local backend, shared by all jobs.
        other_runs: number of a run to the folder of its artifacts.
    """

    root: Path
    folder: Path
    expressions: Expressions
    origin: Path
    commit: str
    github: dict[str, Any]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    vars: Mapping[str, str] = field(default_factory=dict)
    rejected: Sequence[str] = ()
    state: Path | None = None
    other_runs: Mapping[int, Path] = field(default_factory=dict)
    jobs: dict[str, list[Job]] = field(default_factory=dict)

    @property
    def caches(self) -> Path:
        """The folder of the repository's caches, beside the folders of its runs."""
        return self.folder.parent / "caches"

    def run(self, workflow: str) -> dict[str, str]:
        """Run a workflow file; give each job's result. A job is `rejected` when its environment was not released."""
        document = yaml.safe_load((self.root / workflow).read_text(encoding="utf-8"))
        declared = document[True]["workflow_call"]["inputs"]
        assert set(self.inputs) <= set(declared), "an input that the workflow does not have"
        missing = {name for name, about in declared.items() if about.get("required")} - set(self.inputs)
        assert not missing, f"inputs that the workflow needs: {missing}"
        inputs = {name: self.inputs.get(name, about.get("default")) for name, about in declared.items()}
        results: dict[str, str] = {}
        needs: dict[str, Any] = {}
        for name, job in document["jobs"].items():
            wanted = [job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", [])
            contexts = {
                "github": self.github,
                "inputs": inputs,
                "needs": {need: needs[need] for need in wanted},
                "vars": self.vars,
            }
            states = {results[need] for need in wanted}
            status = {
                "success": states <= {"success"},
                "failure": bool(states & {"failure", "rejected"}),
                "always": True,
                "cancelled": False,
            }
            results[name] = "skipped"
            if self.expressions.holds(job.get("if"), contexts, status):
                results[name] = self._run_legs(name, job, contexts)
            outputs = self.jobs[name][-1].outputs if self.jobs.get(name) else {}
            needs[name] = {"result": results[name], "outputs": outputs}
        return results

    def _run_legs(self, name: str, job: Mapping[str, Any], contexts: dict[str, Any]) -> str:
        if self.expressions.fill(job.get("environment"), contexts) in self.rejected:
            return "rejected"
        legs: list[Any] = [{}]
        if "strategy" in job:
            matrix = self.expressions.fill(job["strategy"]["matrix"], contexts)
            legs = matrix["include"]
            assert legs, "an empty matrix is a failure"
            assert len(legs) <= 256
        self.jobs[name] = [
            _JobRun(self, name, job, {**contexts, "matrix": leg}, at).run() for at, leg in enumerate(legs)
        ]
        return "failure" if any(leg.result == "failure" for leg in self.jobs[name]) else "success"


class _JobRun:
    """One job, or one leg of its matrix."""

    def __init__(self, runner: Runner, name: str, job: Mapping[str, Any], contexts: dict[str, Any], leg: int) -> None:
        self.runner = runner
        self.job = job
        self.contexts = contexts
        self.done = Job(name)
        self.folder = runner.folder / f"{name}-{leg}-{runner.github.get('run_attempt', '1')}"
        self.workspace = self.folder / "workspace"
        self.tools = self.folder / "tools"
        self.temp = self.folder / "temp"
        for folder in (self.workspace, self.tools, self.temp):
            folder.mkdir(parents=True)
        self.steps: dict[str, Any] = {}
        self.numbers = itertools.count()
        self.env: dict[str, str] = {}
        self.caches: list[tuple[str, Path]] = []

    def run(self) -> Job:
        self.contexts["runner"] = {"temp": str(self.temp), "os": "Linux"}
        self.contexts["steps"] = self.steps
        self.env = {key: str(value) for key, value in self._fill(self.job.get("env", {})).items()}
        self._run_steps(self.job["steps"], self.contexts, None)
        self.save_caches()
        declared = self.job.get("outputs", {})
        self.done.outputs = {name: str(value) for name, value in self._fill(declared).items()}
        return self.done

    def _fill(self, value: Any, contexts: Mapping[str, Any] | None = None) -> Any:
        return self.runner.expressions.fill(value, contexts or self.contexts)

    def _run_steps(self, steps: list[Any], contexts: dict[str, Any], action: Path | None) -> None:
        for step in steps:
            failed = self.done.result == "failure"
            status = {"success": not failed, "failure": failed, "always": True, "cancelled": False}
            if not self.runner.expressions.holds(step.get("if"), contexts, status):
                continue
            if "uses" in step:
                ok = self._use(step["uses"], self._fill(step.get("with", {}), contexts))
            else:
                ok = self._shell(step, contexts, action)
            if not ok:
                self.done.result = "failure"

    def _use(self, uses: str, given: dict[str, Any]) -> bool:
        if uses.startswith("$/"):
            return self._composite(self.runner.root / uses[2:], given)
        name = uses.partition("@")[0]
        assert set(given) <= set(INPUTS[name]), f"{name} has no input {set(given) - set(INPUTS[name])}"
        return _DOUBLES[name](self, given)

    def _composite(self, folder: Path, given: dict[str, Any]) -> bool:
        document = yaml.safe_load((folder / "action.yml").read_text(encoding="utf-8"))
        assert set(given) <= set(document["inputs"]), f"no such input: {set(given) - set(document['inputs'])}"
        inputs = {name: given.get(name, about.get("default", "")) for name, about in document["inputs"].items()}
        before = self.done.result
        self._run_steps(document["runs"]["steps"], {**self.contexts, "inputs": inputs}, folder)
        return before == self.done.result

    def _shell(self, step: Mapping[str, Any], contexts: dict[str, Any], action: Path | None) -> bool:
        assert "${{" not in step["run"], "an expression inside of a script"
        number = next(self.numbers)
        files = {name: self.folder / f"{name}-{number}" for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for path in files.values():
            path.touch()
        event = self.folder / "event.json"
        event.write_text(json.dumps(self.runner.github["event"]), encoding="utf-8")
        own = {key: str(value) for key, value in self._fill(step.get("env", {}), contexts).items()}
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")},
            "PATH": f"{self.tools}:{os.environ['PATH']}",
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKSPACE": str(self.workspace),
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_BASE_REF": self.runner.github.get("base_ref", ""),
            "GITHUB_REPOSITORY": self.runner.github["repository"],
            **({"GITHUB_ACTION_PATH": str(action)} if action else {}),
            **{name: str(path) for name, path in files.items()},
            **self.runner.env,
            **self.env,
            **own,
        }
        self.done.secrets_seen |= {
            name for name, value in env.items() if value and value == self.runner.github["token"]
        }
        where = self.workspace / str(self._fill(step.get("working-directory", "."), contexts))
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        answer = subprocess.run(command, cwd=where, env=env, capture_output=True, text=True, check=False, timeout=300)
        self.done.log += [*answer.stdout.splitlines(), *answer.stderr.splitlines()]
        self.done.summary += files["GITHUB_STEP_SUMMARY"].read_text(encoding="utf-8")
        if "id" in step:
            self.steps[step["id"]] = {"outputs": read_outputs(files["GITHUB_OUTPUT"])}
        return answer.returncode == 0

    def checkout(self, given: dict[str, Any]) -> bool:
        """Clone for real; as GitHub does, one commit is fetched unless all are asked for."""
        assert given.get("persist-credentials") is False
        git = ["git", "-C", str(self.workspace)]
        depth = [] if given.get("fetch-depth") == 0 else ["--depth", "1"]
        commands = [
            [*git, "init", "-q"],
            [*git, "remote", "add", "origin", self.runner.origin.as_uri()],
            [*git, "fetch", "-q", *depth, "origin", "+refs/heads/*:refs/remotes/origin/*"],
            [*git, "checkout", "-q", "--detach", self.runner.commit],
        ]
        done = all(subprocess.run(command, check=False).returncode == 0 for command in commands)
        link_state(self.runner.state, self.workspace)
        return done

    def setup_python(self, _: dict[str, Any]) -> bool:
        """Put a `python` on the path that knows the driver under test."""
        driver = Path(sys.executable).with_name("llmops")
        script = self.tools / "python"
        script.write_text(PYTHON_DOUBLE.format(driver=driver, python=sys.executable), encoding="utf-8")
        script.chmod(0o755)
        return True

    def cache(self, given: dict[str, Any]) -> bool:
        """Restore the newest entry of the first key that begins so."""
        assert "," not in given["key"] and len(given["key"]) <= 512
        self.caches.append((given["key"], self.workspace / given["path"]))
        for prefix in [given["key"], *given.get("restore-keys", "").split()]:
            found = sorted(self.runner.caches.glob(f"{prefix}*"), key=lambda path: path.stat().st_mtime_ns)
            if found:
                self.done.restored.append(found[-1].name)
                copy_into(found[-1], self.workspace / given["path"])
                return True
        return True

    def save_caches(self) -> None:
        """Save what the steps left, as the action does at the end of a job that succeeded; an entry never changes."""
        self.runner.caches.mkdir(exist_ok=True)
        for key, path in self.caches:
            if self.done.result == "success" and path.exists() and not (self.runner.caches / key).exists():
                copy_into(path, self.runner.caches / key)

    def upload(self, given: dict[str, Any]) -> bool:
        """Keep files under a name that is new, unless it may be overwritten."""
        if set(given["name"]) & set('":<>|*?\\/\r\n'):
            return False
        target = self.runner.folder / "artifacts" / given["name"]
        assert not target.exists() or given.get("overwrite") is True
        shutil.rmtree(target, ignore_errors=True)
        if Path(given["path"]).exists():
            shutil.copytree(given["path"], target)
        return True

    def download(self, given: dict[str, Any]) -> bool:
        """Give each artifact whose name fits a folder of its own."""
        own = self.runner.folder / "artifacts"
        kept = self.runner.other_runs[int(given["run-id"])] if "run-id" in given else own
        for artifact in sorted(kept.iterdir()) if kept.is_dir() else []:
            if fnmatch(artifact.name, given["pattern"]):
                shutil.copytree(artifact, Path(given["path"]) / artifact.name, symlinks=True)
        return True

    def attest(self, given: dict[str, Any]) -> bool:
        """Note what is attested."""
        assert re.fullmatch("sha256:[0-9a-f]{64}", given["subject-digest"])
        self.done.attested[given["subject-name"]] = given["subject-digest"]
        return True

    def login(self, given: dict[str, Any]) -> bool:
        """Note that the job logs in."""
        self.done.logins.append(given["client-id"])
        return True


_DOUBLES: Mapping[str, Callable[[_JobRun, dict[str, Any]], bool]] = {
    "actions/attest": _JobRun.attest,
    "actions/checkout": _JobRun.checkout,
    "actions/setup-python": _JobRun.setup_python,
    "actions/cache": _JobRun.cache,
    "actions/upload-artifact": _JobRun.upload,
    "actions/download-artifact": _JobRun.download,
    "azure/login": _JobRun.login,
}


def link_state(state: Path | None, workspace: Path) -> None:
    """Let every job see the same registry and endpoints, as a cloud's would be."""
    for name in ("registry", "endpoints") if state else ():
        assert state is not None
        (state / name).mkdir(parents=True, exist_ok=True)
        (workspace / ".llmops").mkdir(exist_ok=True)
        (workspace / ".llmops" / name).symlink_to(state / name)


def copy_into(source: Path, target: Path) -> None:
    """Copy a file or a folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)


def commands_in(job: Job) -> Iterator[str]:
    """Give the lines that GitHub's runner obeys."""
    for line in job.log:
        if line.lstrip().startswith("::") or "##[" in line or "##vso[" in line:
            yield line
