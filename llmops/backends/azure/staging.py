"""How a package becomes the files of a model on Azure, and what prompt flow's runtime finds in them.

MLmodel       names the flow's definition, so that the runtime finds it wherever it is in the package
package/      the package, byte for byte
served/       only for a version with chosen variants: the project again, with those variants as the defaults

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
    """
    copy_package(package, into / PACKAGE, manifest)
    if manifest.flow_kind == "callable":
        return
    entry = posixpath.join(PACKAGE, manifest.project, manifest.flow.path, manifest.definition)
    if manifest.flow.variants:
        entry = entry.replace(PACKAGE, _SERVED, 1)
        shutil.copytree(into / PACKAGE / manifest.project, into / _SERVED / manifest.project)
        _choose_variants(into / entry, manifest)
    described = {"flavors": {"promptflow": {"version": manifest.versions.get("promptflow-core", ""), "entry": entry}}}
    (into / "MLmodel").write_text(yaml.safe_dump(described), encoding="utf-8")


def _choose_variants(path: Path, manifest: Manifest) -> None:
    definition: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    for node, variant in manifest.flow.variants.items():
        choices = (definition.get("node_variants") or {}).get(node)
        if choices is None:
            raise UsageError.of(f"the flow has no variants of '{node}'", where=manifest.flow.path)
        choices["default_variant_id"] = variant
    path.write_text(yaml.safe_dump(definition, sort_keys=False, allow_unicode=True), encoding="utf-8")
