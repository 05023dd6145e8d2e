"""Files that runs need, put into the workspace without the SDKs' own upload.

That one waits 15 s until it asks again after an answer was lost, and for ever when one of its threads has died or two
uploads of one folder meet (`_blob_storage_helper.py` of azure-ai-ml 1.32.0).
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path

from llmops.backends.azure.arm import Arm
from llmops.backends.azure.blobs import Blobs
from llmops.backends.azure.session import AzureSession

_STORE = "workspaceblobstore"
"""Every workspace has it, whatever its default datastore is; prompt flow and jobs use it, too."""
_PLACE = "llmops/uploads"
_AT_ONCE = 8
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
    files = _files_of(path)
    place = f"{_PLACE}/{_digest(files)}/{path.name}"
    with contextlib.closing(Arm(session)) as arm, contextlib.closing(Blobs(arm, _STORE)) as blobs:
        there = {one.name: one.size for one in blobs.list(place, what)}
        missing = {f"{place}{end}": file for end, file in files.items()}
        missing = {blob: file for blob, file in missing.items() if there.get(blob) != file.stat().st_size}
        with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda blob: blobs.put_file(blob, missing[blob], what), missing))
        return f"azureml://datastores/{_STORE}/paths/{place}"


def _files_of(path: Path) -> Mapping[str, Path]:
    """Return the files by what follows the path in their blobs' names."""
    if path.is_file():
        return {"": path}
    found = (file for file in sorted(path.rglob("*")) if file.is_file())
    return {f"/{file.relative_to(path).as_posix()}": file for file in found}


def _digest(files: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for end, file in files.items():
        digest.update(f"{end}\n{file.stat().st_size}\n".encode())
        with file.open("rb") as handle:
            while chunk := handle.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
