"""How a package becomes the files of a model on Azure, and what prompt flow's runtime finds in them.

MLmodel       names the flow's definition, so that the runtime finds it wherever it is in the package
package/      the package, byte for byte
served/       only for a version with variants or `nodes`: the project again, with a definition that says so itself

Source of the way through `MLmodel`: `promptflow.core._serving.extension.default_extension`, 1.18.5.
"""

from __future__ import annotations

import posixpath
import shutil
from pathlib import Path
from typing import Any

import yaml

from llmops.backends.packages import copy_package
from llmops.errors import UsageError
from llmops.flows.overlay import lay_over
from llmops.releases import Manifest

PACKAGE = "package"
_SERVED = "served"


def folder_name(manifest_digest: str) -> str:
    """Name the folder of a model; the same content has the same name everywhere."""
    return f"llmops-{manifest_digest.removeprefix('sha256:')[:16]}"


def stage(package: Path, manifest: Manifest, into: Path) -> None:
    """Lay out a package as a model.

    Args:
        package: verified.
        manifest: of the package.
        into: a folder that does not exist.

    Raises:
        UsageError: the flow's class needs arguments, which the image of prompt flow does not hand on.
    """
    copy_package(package, into / PACKAGE, manifest)
    if manifest.flow_kind == "callable":
        return
    if manifest.flow.init:
        raise UsageError.of(
            "prompt flow's serving image gives a class no arguments",
            where=f"{manifest.flow.path}: init",
            found=", ".join(manifest.flow.init),
            fix="Give them defaults in the class, or make the flow a plain Python callable.",
        )
    entry = posixpath.join(PACKAGE, manifest.project, manifest.source)
    if manifest.flow.variants or manifest.flow.nodes:
        entry = entry.replace(PACKAGE, _SERVED, 1)
        shutil.copytree(into / PACKAGE / manifest.project, into / _SERVED / manifest.project)
        _write_overlaid(into / entry, manifest)
    described = {"flavors": {"promptflow": {"version": manifest.versions.get("promptflow-core", ""), "entry": entry}}}
    (into / "MLmodel").write_text(yaml.safe_dump(described), encoding="utf-8")


def _write_overlaid(path: Path, manifest: Manifest) -> None:
    flow = manifest.flow
    definition: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    lay_over(definition, flow.variants, flow.nodes, where=flow.path)
    path.write_text(yaml.safe_dump(definition, sort_keys=False, allow_unicode=True), encoding="utf-8")
