"""What Azure Pipelines' agent does with a step: variables, macros, logging commands, and doubles of the tasks we use.

Doubles refuse inputs that the published schema of the pinned task does not have: checkout (a real clone for `self`, a
link for the repository of the templates), UsePythonVersion@0 (a `python` on the path that answers the installation of
the driver with the driver under test), AzureCLI@2 (notes the connection and runs the script), PublishTestResults@2
(reads the files), PublishPipelineArtifact@1 and DownloadPipelineArtifact@2 (kept in a folder).

Source: learn.microsoft.com, azure/devops/pipelines/scripts/logging-commands and process/variables; what `restricted`
allows is as the agent's own source marks it.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from tests.templates.azure_expressions import to_text
from tests.templates.github_runner import PYTHON_DOUBLE, link_state

_MACRO = re.compile(r"\$\(([A-Za-z_][\w.]*)\)")
_COMMAND = re.compile(r"##vso\[([a-z]+)\.([a-z]+)(?: ([^\]]*))?\](.*)", re.IGNORECASE)
_RESTRICTED = re.compile(
    r"task\.(?:logdetail|logissue|complete|setprogress|setsecret|setvariable|debug|settaskvariable|prependpath)"
)
_ESCAPES = {"%0D": "\r", "%0A": "\n", "%3B": ";", "%5D": "]", "%AZP25": "%"}
_FORBIDDEN_IN_NAMES = set('":<>|*?\\/\r\n')


@dataclass
class Job:
    """What became of one job, or of one leg of its matrix.

    Attributes:
        outputs: `step.variable` to its value.
        issues: level and text of what the run's page shows; refused: commands that the agent did not obey.
        shared: variables of later steps.
    """

    name: str
    result: str = "Succeeded"
    log: list[str] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    issues: list[tuple[str, str]] = field(default_factory=list)
    summaries: list[str] = field(default_factory=list)
    tests: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    secrets_seen: set[str] = field(default_factory=set)
    connections: list[str] = field(default_factory=list)


@dataclass
class Agent:
    """Runs the steps of one job.

    Attributes:
        folder: `Agent.BuildDirectory` and the tools live below it.
        repositories: alias to a folder; `self` to what is cloned.
        commit: of `self`.
        kept: folder of the run's artifacts.
        variables: name to value; secret: those that are no variables of the environment.
        readonly: names that no step may set.
        env: of the agent's process.
        state: see `Pipeline.state`.
    """

    folder: Path
    repositories: Mapping[str, Path]
    commit: str
    kept: Path
    variables: dict[str, str]
    secret: Mapping[str, str]
    readonly: set[str]
    env: Mapping[str, str]
    job: Job
    state: Path | None = None

    def __post_init__(self) -> None:
        for name in ("s", "tools", "temp"):
            (self.folder / name).mkdir(parents=True)
        self.variables |= {
            "Agent.BuildDirectory": str(self.folder),
            "Agent.TempDirectory": str(self.folder / "temp"),
            "Build.SourcesDirectory": str(self.folder / "s"),
            "System.DefaultWorkingDirectory": str(self.folder / "s"),
        }

    def run(self, step: Mapping[str, Any]) -> bool:
        """Run one step; say whether it succeeded."""
        filled = self._replace(step)
        if "checkout" in step:
            return self._checkout(filled)
        if "bash" in step:
            return self._script(filled["bash"], filled, str(filled.get("workingDirectory", "")))
        task, inputs = filled["task"], filled.get("inputs", {})
        refuse_unknown(task, inputs)
        return _TASKS[task](self, filled, inputs)

    def _replace(self, value: Any) -> Any:
        """Replace `$(name)`; what is not known stays as it is."""
        if isinstance(value, dict):
            return {key: self._replace(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._replace(inner) for inner in value]
        if not isinstance(value, str):
            return value
        known = {name.lower(): text for name, text in {**self.variables, **self.secret}.items()}
        return _MACRO.sub(lambda found: known.get(found[1].lower(), found[0]), value)

    def _environment(self, step: Mapping[str, Any]) -> dict[str, str]:
        mapped = {re.sub(r"[. ]", "_", name).upper(): value for name, value in self.variables.items()}
        path = f"{self.folder / 'tools'}:{os.environ['PATH']}"
        own = {name: to_text(value) for name, value in step.get("env", {}).items()}
        return {**os.environ, "TF_BUILD": "True", "PATH": path, **self.env, **mapped, **own}

    def _script(self, text: str, step: Mapping[str, Any], where: str) -> bool:
        env = self._environment(step)
        self.job.secrets_seen |= {name for name, value in env.items() if value in self.secret.values()}
        script = self.folder / "temp" / "script.sh"
        script.write_text(text, encoding="utf-8")
        answer = subprocess.run(
            ["bash", "--noprofile", "--norc", str(script)],
            cwd=self.folder / "s" / where,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        for line in (*answer.stdout.splitlines(), *answer.stderr.splitlines()):
            self.job.log.append(line)
            self._obey(line, step)
        return answer.returncode == 0

    def _obey(self, line: str, step: Mapping[str, Any]) -> None:
        found = _COMMAND.search(line)
        if not found:
            return
        command = f"{found[1]}.{found[2]}".lower()
        given = dict(part.split("=", 1) for part in (found[3] or "").split(";") if "=" in part)
        properties = {name.strip().lower(): _unescape(value) for name, value in given.items()}
        target = step.get("target", {})
        if target.get("commands") == "restricted" and not _RESTRICTED.fullmatch(command):
            self.job.refused.append(command)
        elif command == "task.setvariable":
            self._set_variable(properties, _unescape(found[4]), step)
        elif command == "task.logissue":
            self.job.issues.append((properties["type"], _unescape(found[4])))
        elif command == "task.uploadsummary":
            self.job.summaries.append(Path(_unescape(found[4])).read_text(encoding="utf-8"))
        else:
            raise AssertionError(f"a command that no step of ours gives: {line}")

    def _set_variable(self, properties: Mapping[str, str], value: str, step: Mapping[str, Any]) -> None:
        name = properties["variable"]
        allowed = step.get("target", {}).get("settableVariables")
        if allowed == "none" or (isinstance(allowed, list) and name not in allowed) or name in self.readonly:
            self.job.refused.append(f"task.setvariable {name}")
            return
        if properties.get("isreadonly", "").lower() == "true":
            self.readonly.add(name)
        if properties.get("isoutput", "").lower() == "true":
            self.job.outputs[f"{step.get('name', '')}.{name}"] = value
        else:
            self.variables[name] = value

    def _checkout(self, step: Mapping[str, Any]) -> bool:
        """Clone `self` at the commit; several checkouts keep the folder of sources unless `self` names its own."""
        assert step["persistCredentials"] is False
        place = self.folder / step["path"]
        if step["checkout"] != "self":
            place.symlink_to(self.repositories[step["checkout"]])
            return True
        place.mkdir(parents=True)
        self.variables["Build.SourcesDirectory"] = str(place)
        git = ["git", "-C", str(place)]
        depth = [] if step["fetchDepth"] == 0 else ["--depth", str(step["fetchDepth"])]
        commands = [
            [*git, "init", "-q"],
            [*git, "remote", "add", "origin", self.repositories["self"].as_uri()],
            [*git, "fetch", "-q", *depth, "origin", "+refs/heads/*:refs/remotes/origin/*"],
            [*git, "checkout", "-q", "--detach", self.commit],
        ]
        done = all(subprocess.run(command, check=False).returncode == 0 for command in commands)
        link_state(self.state, place)
        return done

    def use_python(self, _: Mapping[str, Any], __: Mapping[str, Any]) -> bool:
        """Put a `python` on the path that knows the driver under test."""
        script = self.folder / "tools" / "python"
        driver = Path(sys.executable).with_name("llmops")
        script.write_text(PYTHON_DOUBLE.format(driver=driver, python=sys.executable), encoding="utf-8")
        script.chmod(0o755)
        return True

    def azure_cli(self, step: Mapping[str, Any], inputs: Mapping[str, Any]) -> bool:
        """Note who logs in, and run the script."""
        assert inputs["scriptType"] == "bash"
        assert inputs["scriptLocation"] == "inlineScript"
        self.job.connections.append(inputs["azureSubscription"])
        return self._script(inputs["inlineScript"], step, inputs["workingDirectory"])

    def publish_tests(self, _: Mapping[str, Any], inputs: Mapping[str, Any]) -> bool:
        """Read the files as the task does."""
        for file in Path(inputs["searchFolder"]).glob(inputs["testResultsFiles"]):
            suites = ET.parse(file).getroot()  # noqa: S314 the driver under test wrote it
            assert suites.tag == "testsuites"
            self.job.tests += [f"{case.get('classname')}.{case.get('name')}" for case in suites.iter("testcase")]
        return True

    def publish_artifact(self, _: Mapping[str, Any], inputs: Mapping[str, Any]) -> bool:
        """Keep files under a name that is new in this run."""
        assert not set(inputs["artifact"]) & _FORBIDDEN_IN_NAMES
        target = self.kept / inputs["artifact"]
        if target.exists() or not Path(inputs["targetPath"]).exists():
            return False
        shutil.copytree(inputs["targetPath"], target)
        return True

    def download_artifacts(self, _: Mapping[str, Any], inputs: Mapping[str, Any]) -> bool:
        """Give each artifact a folder of its own, and of it the files that the pattern names."""
        for file in sorted(self.kept.rglob("*")):
            name = file.relative_to(self.kept)
            if file.is_file() and fnmatch(name.as_posix(), inputs["itemPattern"].replace("/**", "/*")):
                place = Path(inputs["targetPath"]) / name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, place)
        return True


_TASKS: Mapping[str, Callable[[Agent, Mapping[str, Any], Mapping[str, Any]], bool]] = {
    "UsePythonVersion@0": Agent.use_python,
    "AzureCLI@2": Agent.azure_cli,
    "PublishTestResults@2": Agent.publish_tests,
    "PublishPipelineArtifact@1": Agent.publish_artifact,
    "DownloadPipelineArtifact@2": Agent.download_artifacts,
}


def refuse_unknown(task: str, inputs: Mapping[str, Any]) -> None:
    """Fail when a task has no such inputs, or needs others.

    Raises:
        AssertionError: it names them.
    """
    assert task in _TASKS, f"no double of {task}"
    known, required = _inputs_of(task)
    assert set(inputs) <= known, f"{task} has no input {sorted(set(inputs) - known)}"
    assert required <= set(inputs), f"{task} needs {sorted(required - set(inputs))}"


@cache
def _inputs_of(task: str) -> tuple[set[str], set[str]]:
    """Read the inputs of a task, and which it needs, from the published schema."""
    folder = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((folder / "azure-pipelines.json").read_text(encoding="utf-8"))
    for one in schema["definitions"]["task"]["anyOf"]:
        if one["properties"]["task"].get("pattern") == f"^{task}$":
            inputs = one["properties"]["inputs"]
            aliases = {alias for about in inputs["properties"].values() for alias in about.get("aliases", ())}
            return {*inputs["properties"], *aliases}, set(inputs["required"])
    raise AssertionError(f"the schema knows no {task}")


def _unescape(text: str) -> str:
    return re.sub("|".join(_ESCAPES), lambda found: _ESCAPES[found[0].upper()], text, flags=re.IGNORECASE)
