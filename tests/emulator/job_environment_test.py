"""What a command job finds on its compute."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from llmops.emulator.errors import RefusalError
from llmops.emulator.job_environment import COMPUTE, JobEnvironment
from llmops.emulator.tokens import CLIENT, TokenService, decode
from llmops.emulator.wire import Request

ARM = "https://management.azure.com"


@pytest.fixture
def made(tmp_path: Path) -> JobEnvironment:
    """Of a machine that trusts an authority of its own."""
    (tmp_path / "ours.pem").write_text("ours")
    (tmp_path / "theirs.pem").write_text("the emulator's")
    clean = {"SSL_CERT_FILE": str(tmp_path / "ours.pem"), "NO_PROXY": "intranet.example"}
    return JobEnvironment(
        tokens=TokenService(),
        url="http://127.0.0.1:1",
        authority=tmp_path / "theirs.pem",
        clean=clean,
        folder=tmp_path,
    )


def ask(made: JobEnvironment, address: str, **headers: str) -> dict[str, Any]:
    path = address.removeprefix(made.url)
    query = {"resource": ARM}
    request = Request(
        number=0, method="GET", host="control", path=path, target=path, query=query, headers=headers, body=b""
    )
    return made.answer(request)


def test_the_computes_identity_is_asked_for_with_its_secret(made: JobEnvironment) -> None:
    found = made.variables({"identityType": "Managed"})
    token = ask(made, found["MSI_ENDPOINT"], secret=found["MSI_SECRET"])["access_token"]
    assert (decode(token)["appid"], decode(token)["aud"]) == (COMPUTE, ARM)
    for headers in ({}, {"secret": "guessed"}):
        with pytest.raises(RefusalError) as refused:
            ask(made, found["MSI_ENDPOINT"], **headers)
        assert refused.value.status == 401


def test_who_submits_a_job_can_lend_it_their_identity(made: JobEnvironment) -> None:
    found = made.variables({"identityType": "UserIdentity"})
    assert decode(ask(made, found["OBO_ENDPOINT"])["access_token"])["appid"] == CLIENT


def test_a_job_without_an_identity_asks_no_metadata_service_of_the_network(made: JobEnvironment) -> None:
    found = made.variables(None)
    assert found["AZURE_POD_IDENTITY_AUTHORITY_HOST"] == made.url
    assert not {"MSI_ENDPOINT", "OBO_ENDPOINT"} & set(found)
    with pytest.raises(RefusalError):
        ask(made, f"{made.url}/identity/anybody")


def test_a_job_reaches_azure_through_the_emulator_and_the_rest_as_this_machine_does(made: JobEnvironment) -> None:
    found = made.variables(None)
    assert found["no_proxy"].split(",") == ["127.0.0.1", "localhost", "intranet.example"]
    assert Path(found["SSL_CERT_FILE"]).read_text().splitlines() == ["ours", "the emulator's"]
    proxy = urlsplit(found["HTTPS_PROXY"])
    assert f"http://{proxy.hostname}:{proxy.port}" == made.url
    account = base64.b64encode(f"{proxy.username}:{proxy.password}".encode()).decode()
    assert made.may_leave(f"Basic {account}")
    assert not made.may_leave("")
    assert not made.may_leave("Basic am9iOmd1ZXNzZWQ=")


def test_the_authority_of_an_emulator_before_is_forgotten(made: JobEnvironment) -> None:
    made.variables(None)
    made.authority.write_text("another")
    again = replace(made)
    assert Path(again.variables(None)["SSL_CERT_FILE"]).read_text().splitlines() == ["ours", "another"]
