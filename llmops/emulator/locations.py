"""From the address of an asset to the blobs that it names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llmops.emulator.errors import user_error

if TYPE_CHECKING:
    from llmops.emulator.cloud import Cloud, Workspace

_DATASTORE_PATH = re.compile(r"azureml://.*?datastores/[^/]+/paths/(?P<path>.*)", re.IGNORECASE)
_ASSET = re.compile(r"azureml:(?P<name>[^:@/]+)(?::(?P<version>[^:@/]+)|@(?P<label>latest))")
_ASSET_ID = re.compile(r"(?:azureml:/)?/.*/data/(?P<name>[^/]+)/versions/(?P<version>[^/]+)", re.IGNORECASE)
_CODE_ID = re.compile(r".*/codes/(?P<name>[^/]+)/versions/(?P<version>[^/]+)", re.IGNORECASE)
REGISTRY_ASSET_ID = re.compile(
    r"azureml://registries/(?P<registry>[^/]+)/(?P<kind>[^/]+)/(?P<name>[^/]+)/versions/(?P<version>[^/]+)",
    re.IGNORECASE,
)
_BLOB = re.compile(r"https://[^/]+/(?:[^/]+\.blob\.[^/]+/)?(?P<container>[^/]+)/(?P<path>[^?]*)")
_HTTPS = re.compile(r"https://[^/]+/(?:[^/]+/)?(?P<container>azureml-blobstore-[^/]+)/(?P<path>[^?]*)")


def blob_path(uri: str) -> str:
    """Take the path below the container from the address of a datastore's path.

    Raises:
        RefusalError: 400, it is none.
    """
    match = _DATASTORE_PATH.fullmatch(uri)
    if match is None:
        raise user_error(f"'{uri}' is not in a datastore of the workspace.")
    return match["path"]


def place_of(uri: str) -> tuple[str, str]:
    """Take container and path from the address of a blob.

    Raises:
        RefusalError: 400, it is none.
    """
    match = _BLOB.fullmatch(uri)
    if match is None:
        raise user_error(f"'{uri}' is not the address of a blob.")
    return match["container"], match["path"]


def data_path(cloud: Cloud, workspace: Workspace, uri: str) -> str:
    """Find the blob of a run's data: a datastore's path, a registered data set, its id, or the address of a blob.

    Raises:
        RefusalError: 400, there is no such data.
    """
    if _DATASTORE_PATH.fullmatch(uri):
        return blob_path(uri)
    https = _HTTPS.fullmatch(uri)
    if https is not None and https["container"] == workspace.container:
        return https["path"]
    match = _ASSET.fullmatch(uri) or _ASSET_ID.fullmatch(uri)
    if match is None:
        raise user_error(f"The data '{uri}' cannot be resolved.")
    return blob_path(_data_uri(cloud, workspace, match["name"], match["version"]))


def code_place(cloud: Cloud, workspace: Workspace, identifier: str) -> tuple[str, str]:
    """Find the blobs of uploaded code by its id: their container, and the path below it.

    Raises:
        RefusalError: 400, there is no such code.
    """
    match = _CODE_ID.fullmatch(identifier)
    found = match and cloud.store.get(*workspace.key, "codes", match["name"], "versions", match["version"])
    if not found:
        raise user_error(f"The code '{identifier}' does not exist.")
    uri = str(found["properties"]["codeUri"])
    return place_of(uri) if _BLOB.fullmatch(uri) else (workspace.container, blob_path(uri))


def _data_uri(cloud: Cloud, workspace: Workspace, name: str, version: str | None) -> str:
    versions = cloud.store.children(*workspace.key, "data", name, "versions")
    found = [entry for entry in versions if version is None or entry["name"] == version]
    if not found:
        raise user_error(f"The data '{name}' version '{version or 'latest'}' does not exist.")
    uri: str = found[-1]["properties"]["dataUri"]
    return uri
