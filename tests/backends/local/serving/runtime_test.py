"""What the router works with never waits for a task that fell over."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from llmops.backends.local.serving.places import STATE, Places
from llmops.backends.local.serving.runtime import Runtime
from llmops.backends.local.serving.served_deployment import ServedDeployment, UnavailableError
from llmops.backends.local.serving.serving_process import ServingSpec
from llmops.backends.local.serving.settings import ServingSettings
from llmops.backends.local.serving.store import EndpointStore, StoredDeployment
from llmops.errors import TransientError


class BusyOnce(EndpointStore):
    """A store that is busy the first time when a deployment is to be removed."""

    is_busy = True

    def remove(self, endpoint: str, deployment: str) -> None:
        """See `EndpointStore.remove`."""
        if self.is_busy:
            self.is_busy = False
            raise TransientError.of("busy")
        super().remove(endpoint, deployment)


def test_a_deployment_whose_supervisor_falls_over_has_failed_and_says_why(tmp_path: Path) -> None:
    async def build() -> ServingSpec:
        raise ValueError("nobody thought of this")

    async def run() -> tuple[str, str]:
        deployment = ServedDeployment(name="a", settings=ServingSettings(), log=tmp_path / "log", build_spec=build)
        deployment.start()
        with pytest.raises(UnavailableError):
            await deployment.upstream()
        return await deployment.status(), deployment.message

    assert asyncio.run(asyncio.wait_for(run(), 30)) == ("failed", "ValueError: nobody thought of this")


def test_a_removal_that_failed_in_passing_is_made_again_with_the_next_reload(tmp_path: Path) -> None:
    store = BusyOnce(tmp_path / STATE)
    store.ensure("web", environment="dev", tags={})
    store.add("web", StoredDeployment(name="gone", model="m", version="1", digest="d", folder="f"))
    store.mark_deleting("web", "gone")

    async def run() -> None:
        runtime = Runtime("web", Places(tmp_path / "web"), store, {}, 0.0)
        await runtime.start()
        while "gone" in runtime.endpoint.deployments:
            await asyncio.sleep(0.01)
            await runtime.reload({})
        await runtime.stop()

    (tmp_path / "web").mkdir()
    asyncio.run(asyncio.wait_for(run(), 30))
    assert not store.is_busy
