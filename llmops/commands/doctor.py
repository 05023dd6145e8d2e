"""`llmops doctor`: what of this machine, repository and environment would stop a check; one line each."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from llmops import __version__
from llmops.backends.protocols import Finding
from llmops.backends.registry import inspect_backend
from llmops.commands.context import Context
from llmops.config.connections import resolve_connections
from llmops.config.load import find_root, load_project
from llmops.config.model import Environment, Project
from llmops.engine.models import ModelServices
from llmops.errors import ExitCode, LlmopsError, UsageError, first_to_report, near_match
from llmops.flows.git import default_baseline_ref, head_commit, is_shallow
from llmops.flows.lint.flow import find_definitions
from llmops.flows.tree import WorkingTree, find_top
from llmops.reports.plain_text import defuse_log_commands

Level = Literal["ok", "warning", "error"]

OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 12)
AZURE_LOGIN_TIMEOUT_S = 20

_MARKS: Mapping[Level, str] = {"ok": "ok     ", "warning": "warning", "error": "ERROR  "}


@dataclass(frozen=True, kw_only=True)
class Check:
    """What one look found.

    Attributes:
        fix: what to do; empty when all is well.
        exit_code: of an error.
    """

    name: str
    level: Level
    found: str
    fix: str = ""
    exit_code: ExitCode = ExitCode.USAGE


class _Bad(NamedTuple):
    """A combination of packages that is known not to work: `holds` takes installed versions."""

    holds: Callable[[Mapping[str, tuple[int, ...]]], bool]
    found: str
    fix: str


_COMBINATIONS: tuple[_Bad, ...] = (
    _Bad(
        lambda have: (
            "promptflow" in have and "promptflow-core" in have and have["promptflow"] != have["promptflow-core"]
        ),
        "promptflow and promptflow-core are of different versions, and share one package folder",
        "Install one version of both: pip install 'llmops[promptflow]'",
    ),
    _Bad(
        lambda have: "promptflow-core" in have and not (1, 18, 5) <= have["promptflow-core"] < (1, 19),
        "promptflow-core is not one that llmops knows (1.18.5 or later, before 1.19)",
        "pip install 'promptflow-core>=1.18.5,<1.19'",
    ),
    _Bad(
        lambda have: "openai" in have and have["openai"] < (1,),
        "openai is older than 1.0, which prompt flow's LLM tool cannot use",
        "pip install 'openai>=1'",
    ),
    _Bad(
        lambda have: "promptflow-azure" in have and "azure-ai-ml" not in have,
        "promptflow-azure is installed without azure-ai-ml",
        "pip install 'llmops[azure]'",
    ),
    _Bad(
        lambda have: "azure-ai-ml" in have and not (1, 32) <= have["azure-ai-ml"] < (1, 33),
        "azure-ai-ml is not the one that works together with promptflow-azure (1.32)",
        "pip install 'llmops[azure]'",
    ),
)
_PACKAGES = (
    "promptflow-core",
    "promptflow",
    "promptflow-devkit",
    "promptflow-azure",
    "promptflow-tools",
    "openai",
    "azure-ai-ml",
    "azure-identity",
)


def doctor(
    *, context: Context, environment: str | None = None, offline: bool = False, json_output: bool = False
) -> int:
    """Look at everything that a check needs, and say what to do about what is missing.

    Args:
        environment: look at this one's connections; at every environment's when None.
        offline: ask no model service and no cloud.

    Returns:
        0 when there is no error, else the exit code that a check would have: 2 or 4.

    Raises:
        UsageError: there is no such environment.
    """
    checks = list(_look(context, environment, offline=offline))
    if json_output:
        context.write(
            json.dumps({"checks": [{**vars(item), "exit_code": int(item.exit_code)} for item in checks]}, indent=2)
        )
    else:
        for item in checks:
            context.write(defuse_log_commands(f"{_MARKS[item.level]}  {item.name}: {item.found}"))
            if item.fix:
                context.write(defuse_log_commands(f"         {item.fix}"))
    return first_to_report(item.exit_code for item in checks if item.level == "error")


def find_bad_combinations(versions: Mapping[str, str]) -> list[Check]:
    """Judge installed packages: name to version."""
    have = {name: _numbers(version) for name, version in versions.items()}
    return [
        Check(name="packages", level="error", found=item.found, fix=item.fix)
        for item in _COMBINATIONS
        if item.holds(have)
    ]


def _look(context: Context, environment: str | None, *, offline: bool) -> Iterator[Check]:
    yield _look_at_python()
    yield from _look_at_packages()
    yield from _look_at_git(context)
    try:
        project = load_project(find_root(context.folder))
    except UsageError as error:
        more = f" and {len(error.problems) - 1} more" if len(error.problems) > 1 else ""
        found = f"{error.problems[0].where}: {error.problems[0].what}{more}"
        yield Check(name="configuration", level="error", found=found, fix="llmops lint; for a first one: llmops init")
        return
    counts = f"{len(project.experiments)} experiments, {len(project.environments)} environments"
    yield Check(name="configuration", level="ok", found=counts)
    yield _look_at_llm_tool(project)
    yield _look_at_state(project)
    for chosen in _choose(project, environment):
        yield from _look_at_environment(chosen, context.env, project.state, offline=offline)


def _look_at_python() -> Check:
    found = f"llmops {__version__} with Python {platform.python_version()} on {platform.system()}"
    if OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON:
        return Check(name="python", level="ok", found=found)
    return Check(name="python", level="error", found=found, fix="Use Python 3.10, 3.11 or 3.12.")


def _look_at_packages() -> Iterator[Check]:
    versions = _installed()
    bad = find_bad_combinations(versions)
    yield from bad
    if not bad:
        found = ", ".join(f"{name} {version}" for name, version in versions.items()) or "no prompt flow"
        yield Check(name="packages", level="ok", found=found)


def _look_at_git(context: Context) -> Iterator[Check]:
    if shutil.which("git", path=context.env.get("PATH")) is None:
        yield Check(
            name="git", level="warning", found="not installed", fix="Install git; without it there is no baseline."
        )
        return
    if find_top(context.folder.resolve()) is None:
        fix = "Run: git init; without it there is no baseline."
        yield Check(name="git", level="warning", found="not a repository", fix=fix)
        return
    commit = head_commit(context.folder)
    if commit is None:
        yield Check(name="git", level="warning", found="no commit yet", fix="Commit; there is no baseline before that.")
        return
    if is_shallow(context.folder):
        fix = "fetch-depth: 0 (GitHub Actions), fetchDepth: 0 (Azure Pipelines), or: git fetch --unshallow"
        found = "a shallow clone, which may not hold the merge base"
        yield Check(name="git", level="warning", found=found, fix=fix)
    baseline = default_baseline_ref(context.folder, context.env)
    if baseline.ref is None:
        fix = "Name one: llmops check --baseline main; or: git remote set-head origin --auto"
        yield Check(name="git", level="warning", found=f"no baseline: {baseline.reason}", fix=fix)
    else:
        yield Check(
            name="git", level="ok", found=f"at {commit[:12]}; the baseline is {baseline.ref}: {baseline.reason}"
        )


def _look_at_llm_tool(project: Project) -> Check:
    tree = WorkingTree(project.root)
    texts = ((project.root / path).read_bytes() for path in find_definitions(tree))
    needs = any(b"type: llm" in text or b"type: prompt" in text for text in texts)
    if not needs:
        return Check(name="LLM tool", level="ok", found="no flow needs it")
    if "promptflow-tools" in _installed():
        return Check(name="LLM tool", level="ok", found="installed")
    return Check(name="LLM tool", level="error", found="flows with LLM nodes need it", fix="llmops setup")


def _look_at_state(project: Project) -> Check:
    free_mb = shutil.disk_usage(project.root).free >> 20
    try:
        project.state.mkdir(exist_ok=True)
        probe = project.state / ".doctor"
        probe.touch()
        probe.unlink()
    except OSError as error:
        fix = "Give this user the right to write there."
        return Check(name="state", level="error", found=f"{project.state}: {error.strerror}", fix=fix)
    level: Level = "ok" if free_mb >= 100 else "warning"
    fix = "" if level == "ok" else "Make room: finished lines are kept in .llmops/."
    return Check(name="state", level=level, found=f".llmops/ can be written; {free_mb} MB free", fix=fix)


def _choose(project: Project, environment: str | None) -> Sequence[Environment]:
    if environment is None:
        return list(project.environments.values())
    if environment not in project.environments:
        known = ", ".join(map(repr, project.environments))
        fix = near_match(environment, project.environments)
        raise UsageError.of(f"no environment '{environment}'", where="--environment", expected=known, fix=fix)
    return [project.environments[environment]]


def _look_at_environment(
    environment: Environment, env: Mapping[str, str], state: Path, *, offline: bool
) -> Iterator[Check]:
    for name, connection in environment.connections.items():
        if connection.type == "workspace":
            continue  # the backend looks for it
        title = f"{environment.name}: connection {name}"
        try:
            resolved = resolve_connections({name: connection}, env)[name]
            if connection.type == "stand_in":
                yield Check(name=title, level="ok", found="the stand-in model, which is no real model")
                continue
            if not offline:
                with ModelServices(environment, env, state) as services:
                    services.check_reachable({name: resolved})
        except LlmopsError as error:
            problem = error.problems[0]
            found = f"{problem.what}" + (f" ({problem.found})" if problem.found else "")
            yield Check(name=title, level="error", found=found, fix=problem.fix, exit_code=error.exit_code)
            continue
        answer = (
            "keys are present"
            if offline or connection.type in ("custom", "serverless")
            else "answers and takes the key"
        )
        yield Check(name=title, level="ok", found=f"{connection.type}: {answer}")
    if environment.backend == "azure" and (offline or "azure-ai-ml" not in _installed()):
        yield from _look_at_azure(environment.name, env, offline=offline)
    elif not offline:
        yield from (_check_of(environment, one) for one in inspect_backend(environment, state, env))


def _check_of(environment: Environment, finding: Finding) -> Check:
    name = f"{environment.name}: {finding.name}"
    if finding.exit_code is None:
        return Check(name=name, level="ok", found=finding.found)
    return Check(name=name, level="error", found=finding.found, fix=finding.fix, exit_code=finding.exit_code)


def _look_at_azure(name: str, env: Mapping[str, str], *, offline: bool) -> Iterator[Check]:
    title = f"{name}: Azure"
    if "azure-ai-ml" not in _installed():
        yield Check(
            name=title, level="error", found="the Azure packages are missing", fix="pip install 'llmops[azure]'"
        )
    if all(env.get(variable) for variable in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID")):
        yield Check(name=title, level="ok", found="an identity is named by AZURE_CLIENT_ID and AZURE_TENANT_ID")
        return
    command = shutil.which("az", path=env.get("PATH"))
    if command is None or offline:
        fix = "az login, or set AZURE_CLIENT_ID and AZURE_TENANT_ID for a federated identity."
        yield Check(name=title, level="warning", found="whether anyone is logged in is not known", fix=fix)
        return
    try:
        asked = subprocess.run(
            [command, "account", "show", "--output", "none"],
            env=dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=AZURE_LOGIN_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        fix = "az account show"
        yield Check(name=title, level="error", found="az does not answer", fix=fix, exit_code=ExitCode.TIMEOUT)
        return
    if asked.returncode:
        yield Check(name=title, level="error", found="nobody is logged in", fix="az login", exit_code=ExitCode.REFUSED)
    else:
        yield Check(name=title, level="ok", found="az is logged in")


def _installed() -> dict[str, str]:
    """Return the installed ones of the packages that matter here, with their versions; nothing is imported."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _numbers(version: str) -> tuple[int, ...]:
    """Read the leading numbers of a version."""
    numbers = []
    for part in version.split("."):
        digits = "".join(character for character in part if character.isdigit())
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)
