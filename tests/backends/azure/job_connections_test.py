"""Connections in a job whose environment is the user's own."""

from __future__ import annotations

import pytest

from llmops.backends.azure.job.connections import fetch_connections
from llmops.backends.azure.job.task import JobTask
from llmops.errors import BackendError
from llmops.records import FlowRef


def test_an_environment_without_azure_identity_is_said() -> None:
    task = JobTask(
        flow=FlowRef(path="flows/web", digest="d"),
        source="flows/web",
        project="",
        experiment="web",
        environment="dev",
        concurrency=1,
        line_timeout_s=1,
        workspace="/subscriptions/s",
        resource_manager="https://management.azure.com",
    )
    with pytest.raises(BackendError, match="azure-identity"):
        fetch_connections(task, ["model"])
