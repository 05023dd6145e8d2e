"""The session: the identities it finds, the clients it builds once, the errors it lets through."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from azure.core.exceptions import ClientAuthenticationError

from llmops.backends.azure.credentials import build_credential, missing_of
from llmops.backends.azure.refusals import BusyError, NotThereError, RefusedError
from llmops.backends.azure.run_service import RunService
from llmops.backends.azure.session import AzureSession, open_session
from llmops.backends.azure.settings import read_settings
from llmops.config.model import Azure, AzureCloud, AzureRetries, Environment
from llmops.emulator.emulator import Emulator
from llmops.errors import BackendError, TransientError, UsageError
from tests.azure.conftest import GROUP, SUBSCRIPTION, Requests, unique

TENANT, CLIENT = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"
FAST = AzureRetries(attempts=3, first_wait_s=0.01, longest_wait_s=0.02, busy_s=1.0)


def environment(**azure: object) -> Environment:
    values: dict[str, object] = {
        "subscription_id": SUBSCRIPTION,
        "resource_group": GROUP,
        "workspace": unique("session"),
        "tenant_id": TENANT,
        "client_id": CLIENT,
        "retries": FAST,
        **azure,
    }
    return Environment(name="dev", backend="azure", azure=Azure(**values))  # type: ignore[arg-type]


@pytest.fixture
def session(emulator: Emulator, tmp_path: Path) -> AzureSession:
    return open_session(environment(), tmp_path, {"AZURE_CLIENT_SECRET": "any", **emulator.environment()})


class _Issuer(http.server.BaseHTTPRequestHandler):
    """Gives a new assertion for each request, as GitHub does, after one failure."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        is_first = len(self.asked) == 1
        body = json.dumps({"value": f"a.b.{len(self.asked)}"}).encode()
        self.send_response(503 if is_first else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def issuer() -> Iterator[tuple[Mapping[str, str], list[str]]]:
    asked: list[str] = []
    server = http.server.HTTPServer(("127.0.0.1", 0), type("Issuer", (_Issuer,), {"asked": asked}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/token?api-version=2"
    yield {"ACTIONS_ID_TOKEN_REQUEST_URL": url, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of-the-job"}, asked
    server.shutdown()
    server.server_close()


def test_each_token_on_github_comes_with_a_new_assertion(
    emulator: Emulator, issuer: tuple[Mapping[str, str], list[str]]
) -> None:
    del emulator
    env, asked = issuer
    credential = build_credential(read_settings(environment(credentials=["github"]), env), env)
    for resource in ("https://management.azure.com", "https://ml.azure.com", "https://storage.azure.com"):
        assert credential.get_token(f"{resource}/.default").token
    assert asked == ["/token?api-version=2&audience=api%3A%2F%2FAzureADTokenExchange"] * (1 + 3)


def test_a_refusal_of_github_names_its_status(emulator: Emulator) -> None:
    del emulator
    env = {"ACTIONS_ID_TOKEN_REQUEST_URL": "http://127.0.0.1:9/?a", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t"}
    credential = build_credential(read_settings(environment(credentials=["github"]), env), env)
    with pytest.raises(ClientAuthenticationError, match="GitHub gave no assertion for this job"):
        credential.get_token("https://management.azure.com/.default")


def test_an_identity_that_the_machine_lacks_is_named_with_what_is_missing() -> None:
    settings = read_settings(environment(credentials=["azure_pipelines"], service_connection_id="s"), {})
    with pytest.raises(UsageError) as error:
        build_credential(settings, {"SYSTEM_OIDCREQUESTURI": "https://x"})
    assert str(error.value) == (
        "azure.credentials: the identity 'azure_pipelines' is not there\n"
        "  found no SYSTEM_ACCESSTOKEN\n"
        "  Map SYSTEM_ACCESSTOKEN: $(System.AccessToken) into the step's `env`."
    )


def test_without_an_order_a_machine_that_has_no_identity_service_is_not_asked_for_one() -> None:
    settings = read_settings(environment(), {})
    assert missing_of("managed_identity", settings, {}) != []
    assert missing_of("managed_identity", settings, {"IDENTITY_ENDPOINT": "http://x"}) == []
    assert missing_of("cli", settings, {}) == []


def test_the_workspace_can_be_named_by_variables() -> None:
    env = {"AZURE_WORKSPACE": "named", "GROUP": "given"}
    settings = read_settings(environment(workspace="", resource_group="${env:GROUP}"), env)
    assert (settings.workspace, settings.resource_group) == ("named", "given")


def test_every_missing_variable_is_a_problem() -> None:
    with pytest.raises(UsageError) as error:
        read_settings(environment(workspace="${env:A}", resource_group="${env:B}"), {})
    assert [problem.what for problem in error.value.problems] == [
        "the environment variable B is not set",
        "the environment variable A is not set",
    ]


def test_a_registry_can_be_named_by_a_variable_and_only_by_one_that_the_file_refers_to() -> None:
    assert read_settings(environment(registry="${env:SHARED}"), {"SHARED": "shared"}).registry == "shared"
    assert read_settings(environment(), {"AZURE_REGISTRY": "shared"}).registry == ""


@pytest.mark.parametrize("name", ["ab", "-shared", "a/../b", "x" * 34, "two words"])
def test_what_is_no_name_for_a_registry_is_refused(name: str) -> None:
    with pytest.raises(UsageError) as error:
        read_settings(environment(registry=name), {})
    assert str(error.value) == (
        f"environment 'dev': azure.registry: not a name for a registry\n  found '{name}'\n"
        "  expected 3 to 33 letters, digits, '-' and '_', the first no '-' or '_'"
    )


def test_a_cloud_of_ones_own_needs_all_addresses() -> None:
    with pytest.raises(UsageError, match="the cloud 'Private' lacks addresses"):
        read_settings(environment(cloud=AzureCloud(name="Private", resource_manager="https://arm")), {})


def test_there_is_one_client_of_each_kind(session: AzureSession) -> None:
    assert session.ml is session.ml
    assert session.pf is session.pf
    assert session.pf.ml_client is session.ml


def as_client(client: str, workspace: str, emulator: Emulator, folder: Path, **azure: object) -> AzureSession:
    env = {**emulator.environment(), "AZURE_CLIENT_SECRET": "any"}
    return open_session(environment(workspace=workspace, client_id=client, **azure), folder, env)


def test_a_second_identity_in_one_workspace_is_refused_before_it_acts_as_the_first(
    emulator: Emulator, tmp_path: Path, requests: Requests
) -> None:
    workspace = unique("session")
    first, second = (as_client(client, workspace, emulator, tmp_path) for client in ("first", "second"))
    with pytest.raises(BackendError):
        RunService(first).cancel("nobody")
    with pytest.raises(UsageError) as error:
        RunService(second).cancel("nobody")
    assert str(error.value) == (
        f"workspace '{workspace}': two identities for one workspace in one command\n"
        f"  found client first; tenant {TENANT} and client second; tenant {TENANT}\n"
        "  expected one: prompt flow goes on as the first for as long as the command runs\n"
        "  Let the environments of this workspace share azure.client_id, azure.tenant_id and azure.credentials, "
        "or name one environment in each command."
    )
    assert {entry.caller for entry in requests.all("POST", "/cancel")} == {"first"}


def test_two_ways_to_one_identity_are_one(emulator: Emulator, tmp_path: Path, requests: Requests) -> None:
    workspace = unique("session")
    for more in ({}, {"credentials": ("environment",)}):
        with pytest.raises(BackendError):
            RunService(as_client("same", workspace, emulator, tmp_path, **more)).cancel("nobody")
    assert [entry.caller for entry in requests.all("POST", "/cancel")] == ["same"] * 2


def test_another_workspace_may_have_another_identity(emulator: Emulator, tmp_path: Path, requests: Requests) -> None:
    for client in ("first", "second"):
        with pytest.raises(BackendError):
            RunService(as_client(client, unique("session"), emulator, tmp_path)).cancel("nobody")
    assert [entry.caller for entry in requests.all("POST", "/cancel")] == ["first", "second"]


def test_run_history_is_asked_again_though_the_sdk_does_not(
    session: AzureSession, inject: Callable[..., None], requests: Requests
) -> None:
    inject(path="rundata", status=503, count=2)
    with pytest.raises(NotThereError):
        session.call("read the run 'nobody'", lambda: session.pf.runs.get("nobody"))
    assert requests.statuses("POST", "rundata") == [503, 503, 404]


@pytest.mark.parametrize("effect", ["reset", "lose_answer"])
def test_a_connection_that_keeps_breaking_is_transient(
    session: AzureSession, inject: Callable[..., None], effect: str
) -> None:
    pf = session.pf
    inject(effect=effect, path="rundata", count=None)
    with pytest.raises(TransientError, match="Azure could not be reached to read the run"):
        session.call("read the run", lambda: pf.runs.get("nobody"))


def test_what_prompt_flow_wraps_is_judged_as_what_it_is(session: AzureSession, inject: Callable[..., None]) -> None:
    inject(effect="reset", path=f"/workspaces/{session.settings.workspace}$", count=None)
    with pytest.raises(TransientError, match="Azure could not be reached to open the workspace"):
        _ = session.pf


def test_a_busy_resource_is_waited_for_and_then_said_to_be_busy(
    session: AzureSession, inject: Callable[..., None], requests: Requests
) -> None:
    name = session.settings.workspace
    inject(path=f"/workspaces/{name}$", status=409, count=2)
    session.call("read the workspace", lambda: session.ml.workspaces.get(name))
    assert requests.statuses("GET", name) == [409, 409, 200]
    inject(path=f"/workspaces/{name}$", status=409, count=None)
    with pytest.raises(BusyError):
        session.call("read the workspace", lambda: session.ml.workspaces.get(name))


def test_what_azure_refuses_is_not_repeated(
    session: AzureSession, inject: Callable[..., None], requests: Requests
) -> None:
    name = session.settings.workspace
    inject(path=f"/workspaces/{name}$", status=400, code="UserError", message="no such thing")
    with pytest.raises(RefusedError) as error:
        session.call("read the workspace", lambda: session.ml.workspaces.get(name))
    assert (error.value.code, requests.statuses("GET", name)) == ("UserError", [400])
    assert "found 400 UserError: no such thing" in str(error.value)


def test_a_missing_role_says_what_to_do(session: AzureSession, inject: Callable[..., None]) -> None:
    inject(effect="deny", permission="*/workspaces/read")
    with pytest.raises(BackendError, match="llmops doctor") as error:
        session.call("read it", lambda: session.ml.workspaces.get(session.settings.workspace))
    assert "to perform action 'Microsoft.MachineLearningServices/workspaces/read'" in str(error.value)
