"""Data assets of a workspace as local files; a version never changes, so it is fetched once."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from llmops.backends.azure.refusals import NotThereError
from llmops.backends.azure.session import AzureSession
from llmops.errors import UsageError


def fetch(session: AzureSession, state: Path, address: str) -> Path:
    """Return the one file of a data asset.

    Args:
        session: of the workspace.
        state: the project's `.llmops/` folder, which keeps the file.
        address: `azureml:NAME:VERSION`.

    Raises:
        UsageError: there is no such asset, or it is no single file.
    """
    _, name, version = address.split(":")
    folder = state / "data" / f"{session.settings.workspace}-{name}-{version}"
    if not folder.exists():
        _download(session, name, version, folder)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    if len(files) != 1:
        found = f"{len(files)} files"
        raise UsageError.of("not a single file", where=address, found=found, expected="a .jsonl or .csv file")
    return files[0]


def _download(session: AzureSession, name: str, version: str, folder: Path) -> None:
    from azure.ai.ml._artifacts._artifact_utilities import download_artifact_from_aml_uri

    def download(into: str) -> None:
        data = session.ml.data.get(name, version=version)
        download_artifact_from_aml_uri(uri=data.path, destination=into, datastore_operation=session.ml.datastores)

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetch-") as part:
        try:
            session.call(f"fetch the data asset '{name}' version '{version}'", lambda: download(part))
        except NotThereError as error:
            raise UsageError.of("no such data asset", where=f"azureml:{name}:{version}", found=str(error)) from error
        if not folder.exists():
            os.replace(part, folder)
            Path(part).mkdir()
