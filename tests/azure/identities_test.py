"""Each kind of identity, with the service that vouches for it on its kind of machine."""

from __future__ import annotations

import http.server
import json
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from llmops.backends.azure.credentials import build_credential, kinds_of
from llmops.backends.azure.session import open_session
from llmops.backends.azure.settings import read_settings
from llmops.emulator.emulator import Emulator
from tests.azure.session_test import environment

ARM = "https://management.azure.com/.default"


class Asked(NamedTuple):
    """One request for an assertion or a token."""

    method: str
    path: str
    authorization: str


class Vouchers(NamedTuple):
    """A service of the machine that gives something new for each request."""

    url: str
    asked: list[Asked]


class _Handler(http.server.BaseHTTPRequestHandler):
    asked: list[Asked]

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.asked.append(Asked(self.command, self.path, self.headers.get("authorization", "")))
        number = f"a.b.{len(self.asked)}"
        until = str(int(time.time()) + 3600)
        body = json.dumps(
            {"value": number, "oidcToken": number, "access_token": number, "expires_on": until, "token_type": "Bearer"}
        ).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def vouchers() -> Iterator[Vouchers]:
    asked: list[Asked] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"asked": asked}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Vouchers(f"http://127.0.0.1:{server.server_port}", asked)
    server.shutdown()
    server.server_close()


def github(vouchers: Vouchers) -> Mapping[str, str]:
    return {
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{vouchers.url}/github?api-version=2",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of-the-job",
    }


def test_a_token_that_ran_out_is_replaced_with_a_new_assertion(
    emulator: Emulator, vouchers: Vouchers, settings: Callable[..., None], tmp_path: Path
) -> None:
    """A run of hours outlives every token, and every assertion that a job was given when it began."""
    settings(token_s=2)
    env = {**emulator.environment(), **github(vouchers)}
    session = open_session(environment(credentials=("github",)), tmp_path, env)
    name = session.settings.workspace
    for seen in (1, 2):
        session.call("read the workspace", lambda: session.ml.workspaces.get(name))
        assert len(vouchers.asked) == seen
        time.sleep(2.1)
    assert {one.authorization for one in vouchers.asked} == {"Bearer of-the-job"}


def test_azure_pipelines_gives_a_new_assertion_for_each_token(
    emulator: Emulator, vouchers: Vouchers, monkeypatch: pytest.MonkeyPatch
) -> None:
    del emulator
    env = {"SYSTEM_ACCESSTOKEN": "of-the-job", "SYSTEM_OIDCREQUESTURI": f"{vouchers.url}/oidc"}
    monkeypatch.setenv("SYSTEM_OIDCREQUESTURI", env["SYSTEM_OIDCREQUESTURI"])  # the SDK looks for it itself
    chosen = environment(credentials=["azure_pipelines"], service_connection_id="connection")
    credential = build_credential(read_settings(chosen, env), env)
    assert credential.get_token(ARM).token
    assert credential.get_token("https://ml.azure.com/.default").token
    assert [one.method for one in vouchers.asked] == ["POST", "POST"]
    assert "serviceConnectionId=connection" in vouchers.asked[0].path
    assert vouchers.asked[0].authorization == "Bearer of-the-job"


def test_a_workload_proves_itself_with_the_file_that_its_machine_keeps_fresh(
    emulator: Emulator, tmp_path: Path
) -> None:
    del emulator
    (tmp_path / "token").write_text("a.b.c")
    env = {"AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token")}
    assert build_credential(read_settings(environment(credentials=["workload"]), env), env).get_token(ARM).token


def test_a_machine_with_an_identity_of_its_own_is_asked_for_its_token(
    vouchers: Vouchers, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {"IDENTITY_ENDPOINT": f"{vouchers.url}/identity", "IDENTITY_HEADER": "header"}
    for name, value in env.items():
        monkeypatch.setenv(name, value)  # the SDK looks for them itself
    credential = build_credential(read_settings(environment(credentials=["managed_identity"]), env), env)
    assert [credential.get_token(ARM).token] == ["a.b.1"]
    assert "client_id=00000000-0000-0000-0000-000000000002" in vouchers.asked[0].path


def test_whoever_is_logged_in_on_the_command_line_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "az"
    answer = {"accessToken": "from-az", "expires_on": int(time.time()) + 3600}
    program.write_text(f"#!{sys.executable}\nprint({json.dumps(json.dumps(answer))})\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    credential = build_credential(read_settings(environment(credentials=["cli"]), {}), {})
    assert [credential.get_token(ARM).token] == ["from-az"]


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, ["cli"]),
        ({"AZURE_CLIENT_SECRET": "s"}, ["environment", "cli"]),
        ({"AZURE_FEDERATED_TOKEN_FILE": "f", "IDENTITY_ENDPOINT": "i"}, ["workload", "managed_identity", "cli"]),
        ({"ACTIONS_ID_TOKEN_REQUEST_URL": "u", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t"}, ["github", "cli"]),
        ({"ACTIONS_ID_TOKEN_REQUEST_URL": "u"}, ["cli"]),
    ],
)
def test_those_identities_are_tried_that_the_machine_has(env: dict[str, str], expected: list[str]) -> None:
    assert list(kinds_of(read_settings(environment(), env), env)) == expected


def test_the_order_is_that_of_the_configuration() -> None:
    settings = read_settings(environment(credentials=["cli", "managed_identity"]), {})
    assert list(kinds_of(settings, {})) == ["cli", "managed_identity"]
