"""Run by `cloud_test.py` in a process of its own: a cloud's name can be given once per process, and leaks."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from azure.ai.ml import MLClient
from azure.ai.ml.entities import Model
from azure.identity import ClientSecretCredential


def main(port: str, folder: str) -> None:
    """Register a model and download it again, with no proxy."""
    base = f"https://127.0.0.1:{port}"
    metadata = {
        "azure_portal": base,
        "resource_manager": base,
        "active_directory": base,
        "aml_resource_id": base,
        "storage_endpoint": "core.windows.net",
        "registry_discovery_endpoint": base,
    }
    credential = ClientSecretCredential(
        "tenant", "client", "any", authority=f"127.0.0.1:{port}", disable_instance_discovery=True
    )
    ml = MLClient(credential, "s", "g", "private", show_progress=False, cloud="Private", cloud_metadata=metadata)
    workspace = ml.workspaces.get("private")
    model = ml.models.create_or_update(Model(name="m", path=folder, type="custom_model"))
    ml.models.download("m", version=model.version, download_path="back")
    found = {
        "discovery": workspace.discovery_url == f"{base}/discovery",
        "files": sorted(path.name for path in Path("back").rglob("*.*")),
        "leaked": os.environ.get("AZUREML_CURRENT_CLOUD"),
    }
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
