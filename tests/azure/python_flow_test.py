"""Plain Python flows serve on Azure with a scoring script, without prompt flow; settings reach the service as set."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from llmops.backends.protocols import FlowSource
from llmops.backends.registry import Delivery, open_delivery
from llmops.delivery.package import build_package
from llmops.emulator.emulator import Emulator
from llmops.flows.closure import find_closure
from llmops.flows.digest import digest_closure
from llmops.flows.folder import read_flow_in
from llmops.flows.tree import WorkingTree
from llmops.records import FlowRef
from llmops.releases import Manifest
from tests.azure.conftest import Requests, environment
from tests.azure.echo import deploy_echo, deploy_package, made
from tests.backends.packages import llm_flow, package
from tests.projects import is_running, wait_for

MODULE = """\
import os

from words import loud


async def answer(question: str, mark: str = "!") -> dict:
    if question == "fail":
        raise ValueError("asked to fail")
    return {"answer": loud(question) + mark + os.environ.get("GREETING", "")}
"""
SLOW = """
import os, pathlib, time

pathlib.Path({loads!r}).write_text(str(os.getpid()))
while not pathlib.Path({go_on!r}).exists():
    time.sleep(0.01)
"""
SERVING = {
    "instance_count": 2,
    "request_timeout_s": 30,
    "max_concurrent_requests": 3,
    "app_insights": False,
    "data_collector": {"sampling_rate": 0.5},
    "autoscale": {"min_instances": 2, "max_instances": 4},
    "egress_public": False,
}


@pytest.fixture
def delivery(emulator: Emulator, tmp_path: Path) -> Iterator[Delivery]:
    found = replace(environment("python"), serving=SERVING)
    with open_delivery(found, tmp_path / ".llmops", emulator.environment(), print) as opened:
        yield opened


def build(root: Path, more: str = "") -> tuple[Path, Manifest]:
    """Package a callable that imports a module beside it; `more` is further code of its own module."""
    (root / "app.py").write_text(f"{MODULE}\n{more}")
    (root / "words.py").write_text("def loud(text):\n    return text.upper()\n")
    tree = WorkingTree(root)
    closure = find_closure(tree, read_flow_in(tree, "app:answer"))
    ref = FlowRef(path=closure.flow.path, digest=digest_closure(tree, closure))
    into = root / "package"
    into.mkdir()
    source = FlowSource(ref=ref, tree=tree, closure=closure)
    return into, build_package(source, model="plain", proof=None, without_verdict="a test", into=into)


def test_a_python_flow_serves_and_its_failures_are_its_own(delivery: Delivery, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    into, manifest = build(tmp_path / "project")
    name = deploy_package(delivery, into, manifest, environment_variables={"GREETING": " hi"})
    _wait(delivery, name)
    good = delivery.endpoints.score(name, {"question": "so", "mark": "?"}, deployment="first")
    bad = delivery.endpoints.score(name, {"question": "fail"}, deployment="first")
    assert (good.status, good.outputs) == (200, {"answer": "SO? hi"})
    assert (bad.status, "asked to fail" in bad.text) == (424, True)


def test_a_deployment_that_is_deleted_while_it_loads_leaves_no_process(delivery: Delivery, tmp_path: Path) -> None:
    loads, may_go_on = tmp_path / "loads", tmp_path / "go-on"
    (tmp_path / "project").mkdir()
    into, manifest = build(tmp_path / "project", SLOW.format(loads=str(loads), go_on=str(may_go_on)))
    name = deploy_package(delivery, into, manifest)
    wait_for(loads.exists)
    delivery.endpoints.delete_deployment(name, "first")
    pid = int(loads.read_text())
    assert is_running(pid)
    may_go_on.touch()
    wait_for(lambda: not is_running(pid))


def test_the_settings_of_a_deployment_reach_azure(delivery: Delivery, tmp_path: Path, requests: Requests) -> None:
    name = deploy_echo(delivery, tmp_path, **SERVING)
    (sent,) = [json.loads(one.body) for one in requests.all("PUT", f"{name}/deployments/first")]
    (scaling,) = [json.loads(one.body) for one in requests.all("PUT", "autoscalesettings")]
    properties = sent["properties"]
    assert (sent["sku"]["capacity"], properties["appInsightsEnabled"]) == (2, False)
    assert properties["requestSettings"]["requestTimeout"] == "PT30S"
    assert properties["egressPublicNetworkAccess"] == "Disabled"
    assert properties["dataCollector"]["collections"]["model_inputs"]["samplingRate"] == 0.5
    assert scaling["properties"]["profiles"][0]["capacity"] == {"minimum": "2", "maximum": "4", "default": "2"}
    delivery.endpoints.delete_deployment(name, "first")
    assert [one.status for one in requests.all("DELETE", "autoscalesettings")] == [200]


def test_the_variants_of_a_version_are_those_that_serve(delivery: Delivery, tmp_path: Path, emulator: Emulator) -> None:
    manifest = package(llm_flow(tmp_path), tmp_path / "package", variants={"summarise": "long"})
    delivery.registry.register(tmp_path / "package", name="echo", digest=manifest.digest, created_by="t")
    containers = emulator.cloud.store.children("workspaces")
    blobs = emulator.cloud.blobs
    container = f"azureml-blobstore-{containers[-1]['guid']}"
    (served,) = [name for name in blobs.names(container, "llmops/models/") if "/served/" in name and "dag" in name]
    assert "default_variant_id: long" in blobs.read(container, served).decode()
    (mlmodel,) = [name for name in blobs.names(container, "llmops/models/") if name.endswith("MLmodel")]
    assert "entry: served/flow/flows/summary/flow.dag.yaml" in blobs.read(container, mlmodel).decode()


def test_live_requests_are_measured_by_deployment(delivery: Delivery, tmp_path: Path) -> None:
    name = _serve_echo(delivery, tmp_path)
    started = time.time()
    statuses = [delivery.endpoints.score(name, {"question": text}).status for text in ("a", "b", "raise:x")]
    window = delivery.endpoints.measure(name, start=started, end=time.time())["first"]
    assert (statuses, window.requests, window.errors) == ([200, 200, 424], 3, 1)
    assert set(window.latency_s) == {50, 95, 99}


def test_an_error_of_what_stands_before_the_container_is_not_the_flows(
    delivery: Delivery, tmp_path: Path, inject: Callable[..., None]
) -> None:
    name = _serve_echo(delivery, tmp_path)
    inject(method="POST", path="/score$", status=500)
    answer = delivery.endpoints.score(name, {"question": "a"})
    assert (answer.status, "Injected fault: 500" in answer.text) == (503, True)
    assert delivery.endpoints.score(name, {"question": "a"}).status == 200


def _serve_echo(delivery: Delivery, folder: Path) -> str:
    """Give a new endpoint one deployment with all traffic; return the endpoint's name."""
    name = deploy_echo(delivery, folder)
    _wait(delivery, name)
    delivery.endpoints.update_endpoint(name, traffic={"first": 100})
    return name


def _wait(delivery: Delivery, endpoint: str) -> None:
    assert (found := made(delivery, endpoint)).status == "healthy", found.message
