"""Find out whether newer releases of the pinned Azure SDKs work: they import, and the contract suite passes with them.

    make pins               every group of packages
    make pins GROUPS=azure-ai-ml

Each group is upgraded alone, in an environment of its own that begins as the lock files say, so that one bad release
hides no good one. The table goes to standard output and, in GitHub Actions, to the page of the run. The exit code is 0
whatever is found, for the pins hold until a person moves them; 4 when an environment cannot be made.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.setup_venv import ROOT, SetupError, Uv, find_uv, python_of, run, set_up

GROUPS: Mapping[str, Sequence[str]] = {
    "azure-ai-ml": ("azure-ai-ml",),
    "promptflow": ("promptflow", "promptflow-azure", "promptflow-core", "promptflow-devkit", "promptflow-tracing"),
    "promptflow-tools": ("promptflow-tools",),
    "azure-identity": ("azure-identity", "azure-core", "azure-mgmt-core"),
    "azure-storage-blob": ("azure-storage-blob",),
    "opentelemetry": ("azure-monitor-opentelemetry", "opentelemetry-sdk"),
}
"""What is upgraded together, because its parts need each other."""

IMPORTS = "import azure.ai.ml, azure.identity, promptflow.azure, promptflow.client"
SUITE = ("tests/azure/contract_test.py", "tests/azure/run_commands_test.py")
_LINES = 3
_WORDS = {None: "", True: "yes", False: "**no**"}
_VERSIONS = """\
import importlib.metadata, json, sys
print(json.dumps({name: importlib.metadata.version(name) for name in sys.argv[1:]}))
"""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What became of one group.

    Attributes:
        pinned, newest: package to version.
        imports, passes: None when it was not tried.
        reason: the end of what was said when it failed.
    """

    group: str
    pinned: Mapping[str, str]
    newest: Mapping[str, str]
    imports: bool | None = None
    passes: bool | None = None
    reason: str = ""

    @property
    def is_new(self) -> bool:
        """Whether there is a newer release at all."""
        return dict(self.pinned) != dict(self.newest)


def try_group(root: Path, group: str, env: Mapping[str, str], *, runs_suite: bool = True) -> Found:
    """Upgrade one group and see what works.

    Raises:
        SetupError: the environment cannot be made, or the registry has no answer.
    """
    venv, packages = root / f".venv-pins-{group}", GROUPS[group]
    (venv / "llmops-setup.json").unlink(missing_ok=True)
    set_up(root, venv, "azure", env)
    python = python_of(venv)
    pinned = versions_of(python, packages)
    upgrade(python, packages, env, find_uv(root, env))
    newest = versions_of(python, packages)
    if pinned == newest:
        return Found(group=group, pinned=pinned, newest=newest)
    imported = attempt([str(python), "-c", IMPORTS], root, env)
    if imported.returncode or not runs_suite:
        return _found(group, pinned, newest, imported, None)
    suite = attempt([str(python), "-m", "pytest", "-q", "--no-header", *SUITE], root, env)
    return _found(group, pinned, newest, imported, suite)


def _found(
    group: str,
    pinned: Mapping[str, str],
    newest: Mapping[str, str],
    imported: subprocess.CompletedProcess[str],
    suite: subprocess.CompletedProcess[str] | None,
) -> Found:
    last = suite or imported
    lines = [line for line in (last.stdout + last.stderr).splitlines() if line.strip()] if last.returncode else []
    return Found(
        group=group,
        pinned=pinned,
        newest=newest,
        imports=imported.returncode == 0,
        passes=None if suite is None else suite.returncode == 0,
        reason=" / ".join(lines[-_LINES:]),
    )


def versions_of(python: Path, packages: Sequence[str]) -> Mapping[str, str]:
    """Ask an interpreter which versions it has."""
    answer = subprocess.run([str(python), "-c", _VERSIONS, *packages], check=True, capture_output=True, text=True)
    found: Mapping[str, str] = json.loads(answer.stdout)
    return found


def upgrade(python: Path, packages: Sequence[str], env: Mapping[str, str], uv: Uv | None) -> None:
    """Install the newest releases over the pinned ones."""
    if uv is not None:
        command = [uv.executable, "pip", "install", "--quiet", "--upgrade", "--python", str(python)]
    else:
        command = [str(python), "-m", "pip", "install", "--quiet", "--upgrade"]
    run([*command, *packages], env)


def attempt(command: Sequence[str], root: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command whose failure is an answer."""
    return subprocess.run(command, cwd=root, env=dict(env), check=False, capture_output=True, text=True)


def render(found: Sequence[Found]) -> str:
    """Write the table, Markdown."""
    heads = "| group | pinned | newest | imports | contract suite |\n| --- | --- | --- | --- | --- |"
    rows = [
        f"| {one.group} | {_versions(one.pinned)} | {_versions(one.newest) if one.is_new else 'the same'} "
        f"| {_WORDS[one.imports]} | {_WORDS[one.passes]}{f': {one.reason}' if one.reason else ''} |"
        for one in found
    ]
    return "\n".join([heads, *rows])


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(dict.fromkeys(versions.values()))


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; all if left out")
    parser.add_argument("--imports-only", action="store_true", help="leave the contract suite out")
    arguments = parser.parse_args(argv)
    if unknown := [name for name in arguments.groups if name not in GROUPS]:
        parser.error(f"no group {', '.join(unknown)}")
    try:
        found = [
            try_group(ROOT, group, os.environ, runs_suite=not arguments.imports_only)
            for group in arguments.groups or GROUPS
        ]
    except SetupError as error:
        print(error, file=sys.stderr)
        return 4
    table = render(found)
    print(table)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as handle:
            handle.write(f"{table}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
