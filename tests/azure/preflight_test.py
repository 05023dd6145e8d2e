"""What a deployment would founder on is said before anything is created."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from llmops.backends.azure.diagnosis import diagnose
from llmops.backends.azure.models import is_retired
from llmops.backends.azure.roles import COMMANDS, Permissions
from llmops.backends.protocols import DeploymentRequest
from llmops.backends.registry import Delivery, open_delivery
from llmops.config.connections import resolve_connections
from llmops.config.model import Connection, Environment
from llmops.emulator.emulator import Emulator
from llmops.errors import Problem
from llmops.releases import ModelRecord
from tests.azure.conftest import GROUP, SUBSCRIPTION, Requests, environment, unique
from tests.backends.packages import echo_flow, llm_flow, package

ACCOUNT = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.CognitiveServices/accounts/models"


class Site:
    """A workspace with one registered version."""

    def __init__(self, environment: Environment, delivery: Delivery, folder: Path) -> None:
        self.environment, self.delivery, self.folder = environment, delivery, folder
        self.endpoint = unique("pre")

    def register(self, *, llm: bool = False) -> tuple[ModelRecord, Path]:
        flow = llm_flow(self.folder) if llm else echo_flow(self.folder)
        if llm:
            text = (flow / "flow.dag.yaml").read_text().replace("model: m,", "deployment_name: chat,")
            (flow / "flow.dag.yaml").write_text(text)
        into = self.folder / "package"
        manifest = package(flow, into)
        made = self.delivery.registry.register(into, name="echo", digest=manifest.digest, created_by="a test")
        return made, into

    def obstacles(self, *connections: str, llm: bool = False, **serving: object) -> list[Problem]:
        model, folder = self.register(llm=llm)
        known = resolve_connections({name: Connection(type="workspace") for name in connections}, {})
        request = DeploymentRequest(name="any", model=model, package=folder, connections=known, settings=serving)
        return list(self.delivery.endpoints.find_obstacles(self.endpoint, request))


@pytest.fixture
def sharing(emulator: Emulator, tmp_path: Path) -> Iterator[Site]:
    """A site whose version is kept in a registry."""
    found = environment("preflight", registry=unique("preflight"))
    with open_delivery(found, tmp_path / ".llmops", emulator.environment(), print) as delivery:
        yield Site(found, delivery, tmp_path)


@pytest.fixture
def site(emulator: Emulator, tmp_path: Path) -> Iterator[Site]:
    found = environment("preflight")
    with open_delivery(found, tmp_path / ".llmops", emulator.environment(), print) as delivery:
        yield Site(found, delivery, tmp_path)


def test_nothing_is_in_the_way_of_a_plain_flow(site: Site, requests: Requests) -> None:
    assert site.obstacles() == []
    assert requests.all("PUT", "onlineEndpoints") == []


def test_a_quota_that_is_too_small_says_how_many_cores_are_needed(site: Site, settings: Callable[..., None]) -> None:
    settings(core_quota=0)
    (problem,) = site.obstacles(instance_count=2)
    assert problem.found == "0 of 0 cores are free"
    assert problem.expected == "10 for 2 x Standard_DS3_v2, a fifth of them for upgrades"


def test_autoscaling_needs_the_quota_of_its_maximum(site: Site, settings: Callable[..., None]) -> None:
    settings(core_quota=10)
    (problem,) = site.obstacles(autoscale={"min_instances": 1, "max_instances": 3})
    assert problem.expected.startswith("15 for 3 x")


def test_an_instance_type_that_the_region_lacks_is_named_with_a_near_one(site: Site) -> None:
    (problem,) = site.obstacles(instance_type="Standard_DS33_v2")
    assert problem.what == "no machines of the type 'Standard_DS33_v2' in eastus"
    assert "did you mean 'Standard_DS3_v2'?" in problem.fix


def test_a_missing_action_is_named_with_the_role_that_has_it(site: Site, settings: Callable[..., None]) -> None:
    settings(denied=("Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments/delete",))
    (problem,) = site.obstacles()
    assert problem.what.endswith(
        "may not do Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments/delete"
    )
    assert "AzureML Data Scientist" in problem.fix


def test_a_registry_that_may_not_be_read_or_is_elsewhere_is_in_the_way(
    sharing: Site, settings: Callable[..., None]
) -> None:
    settings(denied=("*/registries/assets/read", "*/workspaces/models/*"), registry_regions=("westeurope",))
    region, role = sharing.obstacles()
    registry = sharing.environment.azure.registry
    assert (region.what, region.found, region.expected) == (
        f"the registry '{registry}' is not in the workspace's region",
        "westeurope",
        "eastus",
    )
    assert role.where == f"registry '{registry}'"
    assert role.what.endswith("may not do Microsoft.MachineLearningServices/registries/assets/read")
    assert "AzureML Registry User" in role.fix


def test_a_connection_that_the_workspace_lacks_is_named(site: Site) -> None:
    (problem,) = site.obstacles("openai")
    assert problem.what == "the workspace has no connection 'openai'"


@pytest.mark.parametrize(
    ("models", "what"),
    [
        ({}, "no model deployment 'chat'"),
        ({"chat": {"name": "gpt-35-turbo", "version": "0301"}}, "the model of the deployment 'chat' is retired"),
        ({"chat": {"name": "gpt-4o", "version": "2024-11-20"}}, ""),
    ],
)
def test_model_deployments_exist_and_answer(
    site: Site, settings: Callable[..., None], models: dict[str, dict[str, str]], what: str
) -> None:
    configs = {"api_base": "https://models.example", "resource_id": ACCOUNT}
    connection = {"type": "azure_open_ai", "configs": configs, "secrets": {"api_key": "k"}}
    settings(model_deployments=models, connections={"model": connection})
    assert [problem.what for problem in site.obstacles("model", llm=True)] == ([what] if what else [])


def test_content_that_serves_already_is_not_looked_at_again(site: Site, settings: Callable[..., None]) -> None:
    model, folder = site.register()
    site.delivery.endpoints.ensure_endpoint(site.endpoint, tags={})
    request = DeploymentRequest(name="first", model=model, package=folder)
    site.delivery.endpoints.create_deployment(site.endpoint, request)
    settings(core_quota=0)
    assert site.delivery.endpoints.find_obstacles(site.endpoint, replace(request, name="second")) == ()


def test_permissions_are_globs_with_exceptions() -> None:
    permissions = Permissions([(["*/read"], []), (["microsoft.x/*"], ["microsoft.x/delete"])])
    allowed = [permissions.allows(one) for one in ("A/b/read", "Microsoft.X/write", "Microsoft.X/delete", "A/write")]
    assert allowed == [True, True, False, False]
    assert COMMANDS["register"]


@pytest.mark.parametrize(
    ("model", "is_over"),
    [
        ("gpt-4 0314", True),
        ("gpt-4 turbo-2024-04-09", False),
        ("text-davinci-003 1", True),
        ("gpt-4o 2024-11-20", False),
    ],
)
def test_retired_models_are_known_by_name_and_version(model: str, *, is_over: bool) -> None:
    name, version = model.split()
    assert is_retired({"name": name, "version": version}) is is_over


@pytest.mark.parametrize(
    ("code", "message", "log", "cause"),
    [
        ("OutOfQuota", "Not enough quota available for Standard_DS3_v2", "", "quota"),
        ("ImageBuildFailure", "failed", "", "the image could not be built"),
        (
            "ResourceNotReady",
            "User container has crashed",
            "ModuleNotFoundError: No module named 'x'",
            "imports a package",
        ),
        (
            "ResourceNotReady",
            "x",
            "UserAuthenticationError: listsecrets denied",
            "may not read the workspace's connections",
        ),
        ("ResourceNotReady", "x", "Connection 'openai' is not found", "a connection that the flow uses is missing"),
        ("ResourceNotReady", "crashed", "KeyError: 'a'", "failed while it was loaded: KeyError: 'a'"),
        ("Strange", "thing", "", "Azure says: Strange: thing"),
        ("", "", "", "Azure gives no reason, and there are no logs"),
    ],
)
def test_a_failed_deployment_is_explained(code: str, message: str, log: str, cause: str) -> None:
    assert cause in diagnose(code, message, log)


def test_a_flow_that_does_not_load_is_explained_by_its_own_log(site: Site) -> None:
    flow = echo_flow(site.folder)
    (flow / "answer.py").write_text(
        "import not_a_package\nfrom promptflow.core import tool\n@tool\ndef answer(question: str) -> str:\n    return question\n"
    )
    manifest = package(flow, site.folder / "broken")
    model = site.delivery.registry.register(site.folder / "broken", name="echo", digest=manifest.digest, created_by="t")
    site.delivery.endpoints.ensure_endpoint(site.endpoint, tags={})
    request = DeploymentRequest(name="broken", model=model, package=site.folder / "broken")
    site.delivery.endpoints.create_deployment(site.endpoint, request)
    while (found := site.delivery.endpoints.observe(site.endpoint)) and found.deployments[
        "broken"
    ].status == "creating":
        continue
    assert found
    assert found.deployments["broken"].status == "failed"
    assert "No module named 'not_a_package'" in found.deployments["broken"].message
    assert "requirements.txt" in found.deployments["broken"].message
