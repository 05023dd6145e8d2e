"""The emulator on the wire, without the SDKs: what its parts promise to whoever rehearses with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from llmops.emulator.emulator import Emulator
from llmops.emulator.settings import Settings
from llmops.emulator.tokens import WRONG_SECRET, decode
from tests.emulator.conftest import ARM, Client, connect
from tests.projects import is_running, wait_for

pytestmark = [pytest.mark.registry, pytest.mark.xdist_group("emulator")]

LOGIN = "https://login.microsoftonline.com/tenant"
MODEL = {"properties": {"modelUri": "azureml://datastores/d/paths/a", "modelType": "custom_model"}}
ENDPOINT = {"location": "eastus", "properties": {"authMode": "Key"}}


def ask_for_token(emulator: Emulator, **form: str) -> httpx.Response:
    with connect(emulator) as http:
        return http.post(f"{LOGIN}/oauth2/v2.0/token", data={"client_id": "c", "scope": f"{ARM}/.default", **form})


def test_a_host_that_is_not_on_the_list_is_refused_and_recorded(emulator: Emulator) -> None:
    with connect(emulator) as http, pytest.raises(httpx.ProxyError, match="403"):
        http.get("https://example.org/")
    with connect(emulator) as http:
        assert http.get("http://example.org/plain").status_code == 403
    refused = [(host.method, host.target) for host in emulator.cloud.journal.refused()[-2:]]
    assert refused == [("CONNECT", "example.org:443"), ("GET", "http://example.org/plain")]


def test_tokens_say_what_prompt_flow_and_azurite_look_at(emulator: Emulator) -> None:
    token = ask_for_token(emulator, client_secret="s").json()["access_token"]  # noqa: S106
    claims = decode(token)
    assert (claims["aud"], claims["appid"], claims["tid"]) == (ARM, "c", "tenant")
    assert claims["iss"].startswith("https://sts.windows.net/")
    assert claims["nbf"] < time.time() < claims["exp"]


def test_a_wrong_secret_gets_no_token(emulator: Emulator) -> None:
    answer = ask_for_token(emulator, client_secret=WRONG_SECRET)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_a_federated_assertion_that_ran_out_gets_no_token(emulator: Emulator) -> None:
    old, fresh = (emulator.cloud.tokens.issue(audience="a", tenant="t", client="c") for _ in range(2))
    emulator.cloud.tokens.lifetime_s = -10.0
    old = emulator.cloud.tokens.issue(audience="a", tenant="t", client="c")
    emulator.cloud.tokens.lifetime_s = 3600.0
    assert ask_for_token(emulator, client_assertion=fresh).status_code == 200
    assert "AADSTS700024" in ask_for_token(emulator, client_assertion=old).json()["error_description"]


@pytest.mark.parametrize(
    ("audience", "lifetime_s", "code"),
    [
        ("https://vault.azure.net", 60.0, "InvalidAuthenticationTokenAudience"),
        (ARM, -1.0, "ExpiredAuthenticationToken"),
    ],
)
def test_a_token_for_something_else_or_of_before_is_refused(
    client: Client, emulator: Emulator, audience: str, lifetime_s: float, code: str
) -> None:
    emulator.cloud.tokens.lifetime_s = lifetime_s
    token = emulator.cloud.tokens.issue(audience=audience, tenant="t", client="c")
    client.http.headers["Authorization"] = f"Bearer {token}"
    answer = client.arm("GET")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, code)


@pytest.mark.parametrize("header", ["", "Bearer x", "Bearer a.b.c", "Basic abc"])
def test_a_request_without_a_token_of_ours_is_refused(client: Client, header: str) -> None:
    client.http.headers["Authorization"] = header
    assert client.arm("GET").status_code == 401


def test_paths_compare_without_case(client: Client) -> None:
    assert client.http.get(f"{ARM}{client.workspace.upper()}").status_code == 200


def test_what_is_not_emulated_says_so(client: Client) -> None:
    answer = client.arm("GET", "/batchEndpoints/x")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NotEmulated")
    assert client.arm("PATCH", "/onlineEndpoints/x").status_code == 405


def test_state_is_kept_apart_by_workspace(client: Client) -> None:
    client.arm("PUT", "/models/m/versions/1", MODEL)
    other = Client(client.http, f"{client.workspace}-other")
    assert client.arm("GET", "/models/m/versions/1").status_code == 200
    assert other.arm("GET", "/models/m/versions/1").status_code == 404


def test_only_named_workspaces_exist(client: Client, emulator: Emulator) -> None:
    name = client.workspace.rpartition("/")[2]
    emulator.cloud.change_settings(workspaces=(name,))
    assert client.arm("GET").status_code == 200
    assert Client(client.http, f"{client.workspace}-other").arm("GET").status_code == 404


def test_an_operation_goes_on_for_its_time(client: Client, emulator: Emulator) -> None:
    emulator.cloud.change_settings(operation_s=600.0)
    made = client.arm("PUT", "/onlineEndpoints/awaited", ENDPOINT)
    assert (made.status_code, made.json()["properties"]["provisioningState"]) == (201, "Creating")
    asked = client.http.get(made.headers["Azure-AsyncOperation"])
    assert (asked.json()["status"], asked.headers["x-ms-retry-after-ms"]) == ("InProgress", "10")


def test_an_operation_is_followed_to_its_end(client: Client, emulator: Emulator) -> None:
    emulator.cloud.change_settings(operation_s=0.3)
    url = client.arm("PUT", "/onlineEndpoints/followed", ENDPOINT).headers["Azure-AsyncOperation"]
    while (status := client.http.get(url).json()["status"]) == "InProgress":
        time.sleep(0.02)
    assert status == "Succeeded"
    assert client.arm("GET", "/onlineEndpoints/followed").json()["properties"]["provisioningState"] == "Succeeded"


def test_deletions_are_followed_by_location_and_absent_is_204(client: Client) -> None:
    client.arm("PUT", "/onlineEndpoints/deleted", ENDPOINT)
    wait_until_ready(client, "/onlineEndpoints/deleted")
    url = client.arm("DELETE", "/onlineEndpoints/deleted").headers["Location"]
    while (answer := client.http.get(url)).status_code == 202:
        time.sleep(0.02)
    assert answer.status_code == 204
    assert client.arm("DELETE", "/onlineEndpoints/deleted").status_code == 204


def test_a_region_has_few_endpoints_and_one_that_is_deleted_makes_room(client: Client, emulator: Emulator) -> None:
    others = len(emulator.cloud.store.children("endpoint-names"))
    paths = [f"/onlineEndpoints/limited-{number}" for number in range(51 - others)]
    answers = [client.arm("PUT", path, ENDPOINT) for path in paths]
    for path in paths[:-1]:
        wait_until_ready(client, path)
        client.arm("DELETE", path)
    wait_for(lambda: client.arm("GET", "/onlineEndpoints").json()["value"] == [])
    assert [one.status_code for one in answers] == [201] * (len(paths) - 1) + [400]
    assert "limit of 50 endpoints in this region" in answers[-1].json()["error"]["message"]
    assert client.arm("PUT", paths[-1], ENDPOINT).status_code == 201


def wait_until_ready(client: Client, path: str) -> str:
    """Wait until a resource is in a last state and return it."""
    while (state := client.arm("GET", path).json()["properties"]["provisioningState"]) in {"Creating", "Updating"}:
        time.sleep(0.02)
    return str(state)


def test_a_signature_opens_the_container_and_a_blob_fault_is_injected(client: Client, emulator: Emulator) -> None:
    store = client.arm("GET", "/datastores/workspaceblobstore").json()["properties"]
    token = client.arm("POST", "/datastores/workspaceblobstore/listSecrets", {}).json()["sasToken"]
    url = f"https://{store['accountName']}.blob.core.windows.net/{store['containerName']}/a.txt?{token}"
    headers = {"x-ms-blob-type": "BlockBlob", "x-ms-version": "2020-12-06"}
    del client.http.headers["Authorization"]
    assert client.http.put(url, content=b"text", headers=headers).status_code == 201
    add_fault(emulator, path="blob.core.windows.net.*a.txt", status=503)
    assert [client.http.get(url).status_code, client.http.get(url).text] == [503, "text"]


def add_fault(emulator: Emulator, **rule: Any) -> None:
    """Add a fault by the control page."""
    httpx.post(f"{emulator.url}/faults", json=rule, trust_env=False).raise_for_status()


def test_faults_come_after_and_as_often_as_asked(client: Client, emulator: Emulator) -> None:
    add_fault(emulator, path=client.workspace, after=1, count=2, status=429, headers={"Retry-After": "3"})
    answers = [client.arm("GET") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 429, 429, 200]
    assert answers[1].headers["Retry-After"] == "3"
    assert answers[1].json()["error"]["code"] == "TooManyRequests"


@pytest.mark.parametrize(("effect", "is_done"), [("reset", False), ("lose_answer", True)])
def test_a_connection_ends_before_or_after_the_work(
    client: Client, emulator: Emulator, effect: str, *, is_done: bool
) -> None:
    add_fault(emulator, effect=effect, method="PUT")
    with pytest.raises(httpx.TransportError):
        client.arm("PUT", "/models/m/versions/1", MODEL)
    assert client.arm("GET", "/models/m/versions/1").status_code == (200 if is_done else 404)


def test_a_permission_is_denied_by_its_name_until_time_has_passed(client: Client, emulator: Emulator) -> None:
    add_fault(emulator, effect="deny", permission="*/models/versions/write", count=None, for_s=600)
    denied = client.arm("PUT", "/models/m/versions/1", MODEL)
    assert (denied.status_code, denied.json()["error"]["code"]) == (403, "AuthorizationFailed")
    assert "'Microsoft.MachineLearningServices/workspaces/models/versions/write'" in denied.json()["error"]["message"]
    assert client.arm("GET").status_code == 200
    emulator.cloud.faults.remove()
    add_fault(emulator, effect="deny", permission="*/models/versions/write", count=None, for_s=0.4)
    wait_for(lambda: client.arm("PUT", "/models/m/versions/1", MODEL).status_code == 201)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"effekt": "reset"}, "unknown key 'effekt'"),
        ({"effect": "explode"}, "no such effect"),
        ({"status": "503"}, "wrong type"),
        ({"path": "("}, "not a regular expression"),
        ("reset", "a fault is a mapping"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(emulator: Emulator, rule: Any, said: str) -> None:
    answer = httpx.post(f"{emulator.url}/faults", json=rule, trust_env=False)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


def test_the_control_page_shows_requests_without_what_is_secret(client: Client, emulator: Emulator) -> None:
    before = emulator.cloud.journal.last_number()
    ask_for_token(emulator, client_secret="shown-nowhere")  # noqa: S106
    client.arm("PUT", "/models/m/versions/1", MODEL)
    text = httpx.get(f"{emulator.url}/requests", params={"after": before}, trust_env=False).text
    entries = json.loads(text)
    assert [(entry["service"], entry["status"], entry["caller"]) for entry in entries] == [
        ("tokens", 200, ""),
        ("arm", 201, "tester"),
    ]
    assert json.loads(entries[1]["body"]) == MODEL
    assert "shown-nowhere" not in text
    assert client.http.headers["Authorization"].split()[1] not in text


def test_settings_are_changed_on_the_control_page(client: Client, emulator: Emulator) -> None:
    url = f"{emulator.url}/settings"
    httpx.patch(url, json={"lists_unknown_models": True}, trust_env=False).raise_for_status()
    assert client.arm("GET", "/models/nobody/versions").json() == {"value": []}
    assert httpx.patch(url, json={"colour": 1}, trust_env=False).status_code == 400
    assert httpx.get(f"{emulator.url}/nothing", trust_env=False).status_code == 404


def test_a_client_that_is_pointed_here_directly_is_served_over_tls(emulator: Emulator, client: Client) -> None:
    """The way of a cloud of one's own: no proxy, and every address that is told leads back here."""
    token = client.http.headers["Authorization"]
    verify = emulator.certificates.client_context()
    base = f"https://127.0.0.1:{emulator.port}"
    with httpx.Client(base_url=base, verify=verify, headers={"Authorization": token}, trust_env=False) as direct:
        found = direct.get(client.workspace).json()
        assert found["properties"]["discoveryUrl"] == f"{base}/discovery"
        made = direct.put(f"{client.workspace}/onlineEndpoints/direct", json=ENDPOINT)
        assert made.headers["Azure-AsyncOperation"].startswith(f"{base}/")
        assert made.json()["properties"]["scoringUri"] == f"{base}/inference/direct/score"


def test_state_outlives_the_process_in_a_folder(azurite_script: Path, tmp_path: Path) -> None:
    path = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/kept"
    for _ in range(2):
        with Emulator(azurite=azurite_script, folder=tmp_path / "state", settings=Settings(operation_s=0)) as emulator:
            token = emulator.cloud.tokens.issue(audience=ARM, tenant="t", client="c")
            with connect(emulator, Authorization=f"Bearer {token}") as http:
                client = Client(http, path)
                container = client.arm("GET", "/datastores/workspaceblobstore").json()["properties"]["containerName"]
                last = client.arm("PUT", "/models/m/versions/1", MODEL).status_code
                kept = list(emulator.cloud.blobs.names(container, ""))
                emulator.cloud.blobs.write(container, "blob.txt", b"kept")
    assert (last, kept) == (200, ["blob.txt"])


def deploy(emulator: Emulator, client: Client, flow: Path) -> None:
    """Register a flow as the SDKs do and deploy it with all traffic."""
    container = client.arm("GET", "/datastores/workspaceblobstore").json()["properties"]["containerName"]
    for file in flow.iterdir():
        emulator.cloud.blobs.write(container, f"LocalUpload/x/{flow.name}/{file.name}", file.read_bytes())
    uri = f"azureml://datastores/workspaceblobstore/paths/LocalUpload/x/{flow.name}"
    client.arm("PUT", "/models/m/versions/1", {"properties": {"modelUri": uri}})
    client.arm("PUT", "/onlineEndpoints/lasting", ENDPOINT)
    wait_until_ready(client, "/onlineEndpoints/lasting")
    properties = {"model": f"{client.workspace}/models/m/versions/1", "requestSettings": {"requestTimeout": "PT1M"}}
    blue = "/onlineEndpoints/lasting/deployments/blue"
    client.arm("PUT", blue, {"location": "eastus", "properties": properties})
    assert wait_until_ready(client, blue) == "Succeeded"
    client.arm("PUT", "/onlineEndpoints/lasting", {"location": "eastus", "properties": {"traffic": {"blue": 100}}})


def score(emulator: Emulator, client: Client) -> Any:
    """Ask the endpoint with its key."""
    key = client.arm("POST", "/onlineEndpoints/lasting/listKeys", {}).json()["primaryKey"]
    uri = "https://lasting.eastus.inference.ml.azure.com/score"
    with connect(emulator, Authorization=f"Bearer {key}") as http:
        return http.post(uri, json={"text": "hello"}).json()


@pytest.mark.slow
def test_a_deployment_serves_again_after_a_restart(
    azurite_script: Path, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a person names the folder from where they are
    path = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/kept"
    answers = []
    for is_first in (True, False):
        with Emulator(azurite=azurite_script, folder=Path("state"), settings=Settings(operation_s=0)) as emulator:
            token = emulator.cloud.tokens.issue(audience=ARM, tenant="t", client="c")
            with connect(emulator, Authorization=f"Bearer {token}") as http:
                client = Client(http, path)
                if is_first:
                    deploy(emulator, client, root / "tests" / "azure" / "flows" / "shout")
                answers.append(score(emulator, client))
    assert answers == [{"loud": "HELLO"}, {"loud": "HELLO"}]


def llmops(*arguments: str, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "llmops", "emulator", *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def user(root: Path, azurite_script: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has Azurite already."""
    name = azurite_script.relative_to(root / ".cache").parts[0]
    (tmp_path / "llmops").mkdir()
    (tmp_path / "llmops" / name).symlink_to(root / ".cache" / name)
    return {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": f"{os.environ['PYTHONPATH']}:{root}"}


CHILD = """
import json, os, ssl, sys, httpx
context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
form = {"client_id": os.environ["AZURE_CLIENT_ID"], "scope": "https://management.azure.com/.default"}
with httpx.Client(verify=context) as http:
    token = http.post("https://login.microsoftonline.com/t/oauth2/v2.0/token", data=form).json()["access_token"]
    path = "subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/dev"
    answer = http.get(f"https://management.azure.com/{path}", headers={"Authorization": f"Bearer {token}"})
    print(answer.status_code, answer.json().get("name"))
    try:
        http.get("https://example.org/")
    except httpx.ProxyError as error:
        print(error)
sys.exit(7)
"""


def test_a_command_runs_against_the_emulator_with_its_own_exit_code(user: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "faults.yaml").write_text("- {path: workspaces/nobody, status: 500}\n")
    options = ("--workspace", "dev", "--faults", "faults.yaml", "--requests", "requests.jsonl")
    done = llmops("run", *options, "--", sys.executable, "-c", CHILD, cwd=tmp_path, env=user)
    assert done.returncode == 7, done.stderr
    assert done.stdout.startswith("200 dev\n")
    assert "emulator: 2 requests" in done.stderr
    assert "emulator: refused to let through: CONNECT example.org:443" in done.stderr
    assert "emulator: a fault that never came about: answer * workspaces/nobody" in done.stderr
    statuses = [json.loads(line)["status"] for line in (tmp_path / "requests.jsonl").read_text().splitlines()]
    assert statuses == [200, 200]


ASK_FOR_CONNECTIONS = (
    CHILD.replace("https://management.azure.com/{path}", "{data}")
    .replace("answer =", 'data = f"https://eastus.api.azureml.ms/flow/api/{path}/Connections"\n    answer =')
    .replace('answer.json().get("name")', "answer.json()")
)


def test_workspaces_have_the_connections_of_an_environment(user: dict[str, str], root: Path) -> None:
    options = ("--connections-of", "local")
    done = llmops("run", *options, "--", sys.executable, "-c", ASK_FOR_CONNECTIONS, cwd=root, env=user)
    assert "'connectionName': 'open_ai_connection', 'connectionType': 'OpenAI'" in done.stdout, done.stderr
    assert "'api_key': '******'" in done.stdout


def test_a_connection_that_leads_to_the_stand_in_says_so(user: dict[str, str], root: Path) -> None:
    ask = CHILD.replace("{path}", "{path}/connections").replace('answer.json().get("name")', "answer.json()")
    done = llmops("run", "--connections-of", "local", "--", sys.executable, "-c", ask, cwd=root, env=user)
    assert "'metadata': {'llmops.stand_in': 'true'}" in done.stdout, done.stderr


def test_the_connections_of_an_environment_are_those_of_this_start(azurite_script: Path, tmp_path: Path) -> None:
    """The stand-in model of the last one is gone, and its address with it."""
    path = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/kept"
    found = []
    for address in ("http://127.0.0.1:1", "http://127.0.0.1:2"):
        connection = {"type": "open_ai", "configs": {"base_url": address}, "secrets": {"api_key": "any"}}
        settings = Settings(connections={"model": connection})
        with Emulator(azurite=azurite_script, folder=tmp_path / "state", settings=settings) as emulator:
            token = emulator.cloud.tokens.issue(audience=ARM, tenant="t", client="c")
            with connect(emulator, Authorization=f"Bearer {token}") as http:
                answer = Client(http, path).data("GET", "/flow/api", "/Connections/model").json()
                found.append(answer["configs"]["base_url"])
    assert found == ["http://127.0.0.1:1", "http://127.0.0.1:2"]


def test_it_serves_until_it_is_told_to_end(user: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "llmops", "emulator", "start", "--env-file", "env"]
    with subprocess.Popen(command, cwd=tmp_path, env=user, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        hello = json.loads(child.stdout.readline())
        assert httpx.get(f"http://127.0.0.1:{hello['port']}/requests", trust_env=False).json() == []
        child.terminate()
        assert child.wait(30) == 0
    lines = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert lines == hello["environment"]


def test_nothing_of_it_outlives_its_sudden_end(user: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "llmops", "emulator", "start"]
    with subprocess.Popen(command, cwd=tmp_path, env=user, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline()
        started = [int(pid) for pid in Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()]
        child.kill()
    assert started
    wait_for(lambda: not any(map(is_running, started)))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run",), "no command to run"),
        (("run", "--", "no-such-command-anywhere"), "no such command"),
        (("start", "--settings", "nowhere.yaml"), "the file cannot be read"),
        (("start", "--connections-of", "dev"), "no llmops project"),
    ],
)
def test_a_wrong_call_is_a_usage_error(
    user: dict[str, str], tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = llmops(*arguments, cwd=tmp_path, env=user)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
