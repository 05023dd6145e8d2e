"""`llmops digest`: the digest of a flow, and the files that it is made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from llmops.errors import ExitCode
from llmops.flows.closure import Closure, find_closure
from llmops.flows.commit import CommitTree
from llmops.flows.digest import digest_files, hash_files
from llmops.flows.folder import read_flow_in, relative_to
from llmops.flows.git import resolve_ref
from llmops.flows.tree import FileTree, WorkingTree, show


def digest(
    *,
    root: Path,
    flow: str,
    files: bool = False,
    json_output: bool = False,
    ref: str | None = None,
    write: Callable[[str], None],
) -> int:
    """Print the digest of a flow.

    Args:
        root: the project folder, which holds `config/`.
        flow: folder or file of the flow, relative to `root`.
        files: also list each file with its SHA-256 and origin.
        json_output: write one JSON document, files included.
        ref: take the flow as it stands at this branch, tag or commit instead of the working tree.
        write: takes one line of output without its newline.

    Raises:
        UsageError: there is no such flow or ref, or the closure cannot be found.
    """
    commit = resolve_ref(root, ref) if ref is not None else None
    with CommitTree(root, commit) if commit else nullcontext(WorkingTree(root)) as tree:
        closure = find_closure(tree, read_flow_in(tree, relative_to(root, flow)))
        hashes = hash_files(tree, closure)
    if json_output:
        write(json.dumps(_describe(tree, closure, hashes, commit), indent=2, ensure_ascii=False))
        return ExitCode.PASS
    write(digest_files(hashes))
    if files:
        for name, content in hashes.items():
            write(f"{content}  {closure.files[name].origin:<8}  {name}")
    for note in closure.notes:
        write(f"note: {note}")
    return ExitCode.PASS


def _describe(tree: FileTree, closure: Closure, hashes: dict[str, str], commit: str | None) -> dict[str, Any]:
    return {
        "flow": closure.flow.path,
        "kind": closure.flow.kind,
        "commit": commit,
        "digest": digest_files(hashes),
        "files": [
            {
                "name": name,
                "sha256": hashes[name],
                "origin": source.origin,
                "source": show(tree, source.path),
            }
            for name, source in closure.files.items()
        ],
        "import_roots": list(closure.import_roots),
        "notes": list(closure.notes),
    }
