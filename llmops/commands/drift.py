"""`llmops drift`: compare a flow that was downloaded from the studio with the one in the repository."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from llmops.commands.context import Context
from llmops.commands.export_flow import package_files
from llmops.commands.import_flow import FLOWS
from llmops.commands.lint import find_lint_root
from llmops.errors import ExitCode
from llmops.flows.archive import normalise, read_package
from llmops.flows.changes import Change, compare, diff_texts, read_state
from llmops.flows.closure import find_closure
from llmops.flows.folder import read_flow_in, relative_to
from llmops.flows.ignore import IgnoreRules
from llmops.flows.tree import WorkingTree
from llmops.reports.plain_text import defuse_log_commands


def drift(*, context: Context, source: Path, flow: str | None = None, json_output: bool = False) -> int:
    """Say how a downloaded flow differs from the repository's.

    Args:
        source: a ZIP file or a folder.
        flow: the repository's flow; `flows/NAME` with the ZIP file's name when None.

    Returns:
        0 when they are the same but for line ends and caches, else 2.

    Raises:
        UsageError: the source cannot be trusted or holds no flow, or there is no such flow in the repository.
    """
    package = read_package(context.folder / source)
    root = find_lint_root(context.folder)
    tree = WorkingTree(root)
    closure = find_closure(tree, read_flow_in(tree, relative_to(root, flow or f"{FLOWS}/{package.name}")))
    ours = {name: normalise(content) for name, content in package_files(tree, closure).items()}
    left_out = set(IgnoreRules(tree).ignored(closure.flow.folder, package.files))
    names = [name for name in sorted({*ours, *package.files} - left_out) if ours.get(name) != package.files.get(name)]
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary, "flow")
        for name, content in package.files.items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes(content)
        theirs = read_state(WorkingTree(Path(temporary), top=Path(temporary)), "flow")
        changes = compare(read_state(tree, closure.flow.path), theirs) if names and theirs else []
    files = [_describe(name, ours.get(name), package.files.get(name)) for name in names]
    if json_output:
        document = {"flow": closure.flow.path, "files": files, "changes": [_change(item) for item in changes]}
        context.write(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        _show(context, closure.flow.path, files, changes)
    return ExitCode.USAGE if names else ExitCode.PASS


def _describe(name: str, ours: bytes | None, theirs: bytes | None) -> dict[str, str]:
    state = "only in the download" if ours is None else "only in the repository" if theirs is None else "differs"
    try:
        diff = diff_texts((ours or b"").decode("utf-8"), (theirs or b"").decode("utf-8"))
    except UnicodeDecodeError:
        diff = ""
    return {"name": name, "state": state, "diff": diff if state == "differs" else ""}


def _change(change: Change) -> dict[str, Any]:
    return {"text": str(change), **vars(change)}


def _show(context: Context, flow: str, files: list[dict[str, str]], changes: list[Change]) -> None:
    def write(text: str) -> None:
        context.write(defuse_log_commands(text))

    for file in files:
        write(f"{file['state']}: {file['name']}")
        if file["diff"]:
            write("\n".join(f"  {line}" for line in file["diff"].splitlines()))
    if changes:
        write("From the repository to the download:")
    for change in changes:
        write(f"  {change}")
    write(
        f"{flow}: {len(files)} {'file differs' if len(files) == 1 else 'files differ'}."
        if files
        else f"{flow}: no drift."
    )
