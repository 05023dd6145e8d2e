"""`llmops import`: take a flow that was downloaded from the studio, or lies in a folder, into the repository."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmops.commands.context import Context
from llmops.commands.init_plan import (
    FoundFlow,
    draft_experiment,
    environment_text,
    experiment_text,
    find_data,
    find_in_repository,
)
from llmops.commands.lint import find_lint_root
from llmops.config.load import ENVIRONMENTS, EXPERIMENTS
from llmops.config.model import NAME
from llmops.errors import ExitCode, UsageError
from llmops.flows.archive import Package, read_package
from llmops.flows.ignore import IgnoreRules
from llmops.flows.tree import WorkingTree, in_project

FLOWS = "flows"


def import_flow(*, context: Context, source: Path, name: str | None = None, force: bool = False) -> int:
    """Write a flow into `flows/NAME`, with a draft of an experiment.

    Args:
        source: a ZIP file or a folder; relative to where the user is.
        name: of the flow; the ZIP file's or folder's when None.
        force: replace a flow that is there and differs.

    Raises:
        UsageError: the source cannot be trusted or holds no flow, the name is no name, or another flow is there.
    """
    root = find_lint_root(context.folder)
    package = read_package(context.folder / source)
    chosen = name or _name_of(package.name)
    if not re.fullmatch(NAME, chosen):
        raise UsageError.of("not a valid name", where="--name", found=f"'{chosen}'", expected=f"a name like {NAME}")
    folder = f"{FLOWS}/{chosen}"
    left_out = _write(root, folder, package, force=force)
    for path in package.dropped:
        context.write(f"dropped: {path}")
    for path in left_out:
        context.write(f"left out by an ignore file: {path}")
    context.write(f"written: {folder} ({len(package.files) - len(left_out)} files)")
    paths = [folder, *_draft(context, root, folder, chosen)]
    context.write(f"Look through it, then: git add {' '.join(paths)} && git commit -m 'Import {chosen}'")
    context.write(f"Next: llmops lint {folder}")
    return ExitCode.PASS


def _name_of(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._") or "flow"


def _write(root: Path, folder: str, package: Package, *, force: bool) -> list[str]:
    """Write the files; return those that an ignore file of the repository, or of the flow, leaves out."""
    target = root / folder
    there = {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}
    if there and not force and not _is_same(root, folder, there, package):
        fix = "Compare first: llmops drift FILE. Then: --force replaces it, --name gives the new one another name."
        raise UsageError.of("another flow is there", where=folder, fix=fix)
    if force and target.is_dir():
        shutil.rmtree(target)
    for name, content in package.files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)
    ignored = _ignored(root, folder, package)
    for name in ignored:
        (target / name).unlink()
    return ignored


def _is_same(root: Path, folder: str, there: Mapping[str, bytes], package: Package) -> bool:
    missing = {name for name in package.files if name not in there}
    kept = all(package.files.get(name) == content for name, content in there.items())
    return kept and missing <= set(_ignored(root, folder, package))


def _ignored(root: Path, folder: str, package: Package) -> list[str]:
    tree = WorkingTree(root)
    return IgnoreRules(tree).ignored(in_project(tree, folder), package.files)


def _draft(context: Context, root: Path, folder: str, name: str) -> list[str]:
    """Write a draft of an experiment; return the files that it consists of."""
    file = f"{EXPERIMENTS}/{name}.yaml"
    flows, problems = find_in_repository(root)
    found = next((item for item in flows if item.path == folder), None)
    if found is None or found.is_evaluator or (root / file).exists():
        reason = "an evaluation flow needs none" if found and found.is_evaluator else "it is there already"
        for problem in problems:
            context.write(f"note: {problem}")
        context.write(f"no experiment was written: {reason if found else 'the flow cannot be read'}")
        return []
    evaluators = {item.path: item for item in flows if item.is_evaluator}
    draft = draft_experiment(found, find_data(root), list(evaluators.values()))
    written = [file]
    if draft is None:
        data = f"data/{name}.jsonl"
        _write_text(root / data, json.dumps(_first_row(found), ensure_ascii=False) + "\n")
        context.write(f"written: {data} (one row, from the flow's defaults; replace it by rows of your own)")
        written.append(data)
        draft = draft_experiment(found, find_data(root), list(evaluators.values()))
    if draft is None:
        context.write("no experiment was written: the flow has no inputs")
        return []
    _write_text(root / file, experiment_text(draft, evaluators, {}))
    context.write(f"written: {file} (a draft)")
    return [*written, *_environment(context, root, flows)]


def _environment(context: Context, root: Path, flows: Sequence[FoundFlow]) -> list[str]:
    """Write the environment that the draft names, when there is none."""
    file = f"{ENVIRONMENTS}/local.yaml"
    if (root / file).exists():
        return []
    _write_text(root / file, environment_text("local", flows, context.env))
    context.write(f"written: {file}")
    return [file]


def _first_row(found: FoundFlow) -> Mapping[str, Any]:
    return {name: "" if item.default is None else item.default for name, item in found.flow.inputs.items()}


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
