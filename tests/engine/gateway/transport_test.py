"""The way from the gateway to a service: TLS, proxies, kept connections; all of it real, on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from llmops.emulator.certificates import Certificates, make_certificates
from llmops.engine.gateway.transport import Answer, DirectTransport, Request, TransportError, open_transport
from llmops.engine.standin.process import StandInProcess
from tests.engine.gateway.network import proxy, tls_server
from tests.engine.gateway.service_test import gateway

SERVICE = "https://models.here.inference.ml.azure.com/v1"
HEADERS = [(b"authorization", b"Bearer any"), (b"content-type", b"application/json")]
BODY = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}).encode()
ASK = Request(method="POST", path="/chat/completions", headers=HEADERS, body=BODY)


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandInProcess]:
    with StandInProcess() as process:
        yield process


@pytest.fixture(scope="module")
def backend(stand_in: StandInProcess) -> int:
    return urlsplit(stand_in.base_url).port or 0


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"), "here")


@pytest.fixture
def trust(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))


def use_proxy(monkeypatch: pytest.MonkeyPatch, address: str, *, no_proxy: str = "") -> None:
    for name, value in (("https_proxy", address), ("http_proxy", address), ("no_proxy", no_proxy)):
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.upper(), value)


def ask(address: str, times: int = 1) -> list[Answer]:
    """Send the same request some times over one transport; the bodies are read."""

    async def run() -> list[Answer]:
        transport = open_transport(address)
        answers = []
        for _ in range(times):
            answer = await transport.send(ASK)
            assert b'"choices"' in await answer.read()
            answers.append(answer)
        await transport.close()
        return answers

    return asyncio.run(run())


@pytest.mark.usefixtures("trust")
def test_a_service_is_reached_over_tls_and_its_connection_is_kept(certificates: Certificates, backend: int) -> None:
    with tls_server(certificates.server_context(), backend) as server:
        answers = ask(f"https://localhost:{server.port}/v1", times=3)
    assert ([answer.status for answer in answers], len(server.heads)) == ([200] * 3, 1)


def test_a_service_that_nobody_vouches_for_is_not_spoken_to(certificates: Certificates, backend: int) -> None:
    with (
        tls_server(certificates.server_context(), backend) as server,
        pytest.raises(TransportError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        ask(f"https://localhost:{server.port}/v1")
    assert server.heads == []


@pytest.mark.usefixtures("trust")
def test_a_certificate_for_another_name_is_refused(certificates: Certificates, backend: int) -> None:
    with (
        tls_server(certificates.server_context(), backend, host="127.0.0.2") as server,
        pytest.raises(TransportError, match="IP address mismatch"),
    ):
        ask(f"https://127.0.0.2:{server.port}/v1")


@pytest.mark.usefixtures("trust")
def test_a_proxy_is_asked_for_a_tunnel_with_its_own_credentials_and_sees_no_more(
    certificates: Certificates, backend: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tls_server(certificates.server_context(), backend) as server, proxy(server.port) as way:
        use_proxy(monkeypatch, f"http://user:secret@127.0.0.1:{way.port}")
        ask(SERVICE, times=2)
    (head,) = way.heads
    assert head.startswith(b"CONNECT models.here.inference.ml.azure.com:443 HTTP/1.1\r\n")
    assert b"proxy-authorization: basic dxnlcjpzzwnyzxq=" in head.lower()
    assert b"any" not in head


def test_a_service_without_tls_is_asked_for_through_the_proxy_too(
    backend: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy(backend) as way:
        use_proxy(monkeypatch, f"http://127.0.0.1:{way.port}")
        ask("http://models.here.inference.ml.azure.com/v1")
    assert way.heads[0].startswith(b"POST http://models.here.inference.ml.azure.com/v1/chat/completions HTTP/1.1\r\n")


def test_a_proxy_that_refuses_is_named(backend: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxy(backend, refuses=True) as way:
        use_proxy(monkeypatch, f"http://127.0.0.1:{way.port}")
        with pytest.raises(TransportError, match="ProxyError: 407 Proxy Authentication Required"):
            ask(SERVICE)


@pytest.mark.parametrize("address", ["https://localhost/v1", "https://127.0.0.1:8443/v1", SERVICE])
@pytest.mark.usefixtures("trust")
def test_what_is_near_or_excepted_is_reached_without_the_proxy(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use_proxy(monkeypatch, "http://127.0.0.1:9", no_proxy="inference.ml.azure.com")
    assert isinstance(open_transport(address), DirectTransport)


@pytest.mark.usefixtures("trust")
def test_a_flows_call_reaches_a_service_behind_a_proxy_over_tls(
    certificates: Certificates, backend: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with tls_server(certificates.server_context(), backend) as server, proxy(server.port) as way:
        use_proxy(monkeypatch, f"http://127.0.0.1:{way.port}", no_proxy="127.0.0.1")
        with gateway(SERVICE, tmp_path) as gate:
            answer = gate.ask("hello")
            stream = gate.ask("a stream", stream=True, line="0-aa-1")
            assert answer.choices[0].message.content
            assert "".join(part.choices[0].delta.content or "" for part in stream if part.choices)
    assert {head.split()[1] for head in way.heads} == {b"models.here.inference.ml.azure.com:443"}
