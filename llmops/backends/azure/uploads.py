"""Files that runs need, put into the workspace without the SDKs' own upload.

That one waits 15 s until it asks again after an answer was lost, and for ever when one of its threads has died or two
uploads of one folder meet (`_blob_storage_helper.py` of azure-ai-ml 1.32.0).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from llmops.backends.azure.arm import Arm
from llmops.backends.azure.blobs import Blobs
from llmops.backends.azure.session import AzureSession

_STORE = "workspaceblobstore"
"""Every workspace has it, whatever its default datastore is; prompt flow and jobs use it, too."""
_PLACE = "llmops/uploads"
_CHUNK = 1 << 20


def upload(session: AzureSession, path: Path, what: str) -> str:
    """Upload a file or a folder, as far as it is not there.

    The same content under the same name has the same place, so that whoever comes later goes on, and two who come at
    once write the same.

    Args:
        session: of the workspace.
        path: of the file or folder.
        what: a clause for messages.

    Returns:
        Its address, `azureml://datastores/…`.
    """
    files = {file.relative_to(path.parent).as_posix(): file for file in _files_of(path)}
    place = f"{_PLACE}/{_digest(files)}"
    with contextlib.closing(Arm(session)) as arm, contextlib.closing(Blobs(arm, _STORE)) as blobs:
        blobs.put_missing(place, files, what)
        return f"azureml://datastores/{_STORE}/paths/{place}/{path.name}"


def _files_of(path: Path) -> Sequence[Path]:
    return [path] if path.is_file() else [file for file in sorted(path.rglob("*")) if file.is_file()]


def _digest(files: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, file in files.items():
        digest.update(f"{name}\n{file.stat().st_size}\n".encode())
        with file.open("rb") as handle:
            while chunk := handle.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
