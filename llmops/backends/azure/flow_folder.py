"""A flow as one folder, which is all that a prompt flow run on Azure takes."""

from __future__ import annotations

import contextlib
import posixpath
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from llmops.backends.protocols import FlowSource
from llmops.errors import UsageError
from llmops.flows.closure import IMPORTED, Closure


@contextlib.contextmanager
def flow_folder(source: FlowSource, parent: Path) -> Iterator[Path]:
    """Write a flow's files for the length of a `with` block, includes and local packages beside its definition.

    Args:
        source: a DAG or flex flow.
        parent: where the folder is made.

    Returns:
        The folder, named as the flow's own, because the studio shows that name.

    Raises:
        UsageError: the flow is of a kind that Azure does not run, or two of its files want one place.
    """
    _require_runnable(source)
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix="upload-") as folder:
        into = Path(folder) / (posixpath.basename(source.ref.path) or "flow")
        into.mkdir()
        _write(source, into)
        yield into


def _require_runnable(source: FlowSource) -> None:
    if source.flow.kind in {"dag", "flex"}:
        return
    raise UsageError.of(
        f"prompt flow on Azure does not run a flow of the kind '{source.flow.kind}'",
        where=source.ref.path,
        expected="flow.dag.yaml or flow.flex.yaml",
        fix="Set azure.runs.compute to job: a command job runs flows of every kind.",
    )


def _write(source: FlowSource, into: Path) -> None:
    places: dict[str, str] = {}
    for name, file in source.closure.files.items():
        place = _place(source.closure, name)
        if place in places:
            raise UsageError.of(
                "two files of the flow want one place in its folder",
                where=source.ref.path,
                found=f"'{places[place]}' and '{file.place}'",
                fix="Rename one of them.",
            )
        places[place] = file.place
        target = into / place
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as handle:
            for chunk in source.tree.chunks(file.path):
                handle.write(chunk)
    _settle(source, into / source.flow.definition)


def _place(closure: Closure, name: str) -> str:
    """Say where a file goes: a local package where the flow's folder alone is on the path of imports."""
    if not name.startswith(IMPORTED):
        return name
    path = name.removeprefix(IMPORTED)
    roots = [root.rstrip("/") for root in closure.import_roots if root != "."]
    root = max((root for root in roots if path.startswith(f"{root}/")), key=len, default="")
    return path[len(root) :].lstrip("/")


def _settle(source: FlowSource, definition: Path) -> None:
    """Take what is done already out of the definition: includes are there, and several variants are chosen."""
    variants = dict(source.ref.variants) if len(source.ref.variants) > 1 else {}
    if not source.flow.additional_includes and not variants:
        return
    document: dict[str, Any] = yaml.safe_load(definition.read_text(encoding="utf-8-sig"))
    document.pop("additional_includes", None)
    for node, variant in variants.items():
        document["node_variants"][node]["default_variant_id"] = variant
    definition.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
