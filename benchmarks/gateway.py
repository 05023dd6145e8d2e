"""What the model gateway costs: CPU and added latency of one call, against calling the stand-in model directly."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from llmops.engine.gateway.process import GatewayProcess
from llmops.engine.gateway.settings import GatewaySettings, Upstream
from llmops.engine.gateway.transport import DirectTransport, Request
from llmops.engine.standin.process import StandInProcess

CALLS = 1000
CONCURRENCY = 16
BUDGET_MS = 2.0
TEXT = "The ferry leaves at nine and returns at noon; the captain is a patient man who knows the river well. " * 20


class Measured(NamedTuple):
    """One way of calling: rate, median latency, and CPU of the gateway per call."""

    calls_per_second: float
    latency_ms: float
    gateway_cpu_ms: float


def main() -> None:
    """Measure and print a table."""
    with ExitStack() as stack:
        stand_in = stack.enter_context(StandInProcess())
        rows = {"stand-in model, directly": _measure(stand_in.base_url, "any", None, range(CALLS))}
        with _gateway(stand_in.base_url) as (address, token, pid):
            rows["through the gateway, live"] = _measure(address, token, pid, range(CALLS))
        with _gateway("") as (address, token, pid):
            rows["stand-in model in the gateway"] = _measure(f"{address}/v1", token, pid, range(CALLS))
        with _gateway(stand_in.base_url) as (address, token, pid):
            _measure(address, token, pid, range(CALLS))
            rows["through the gateway, cached"] = _measure(address, token, pid, range(CALLS), line="0-feed-{}")
    print(
        f"{CALLS} calls, {CONCURRENCY} at once; the prompt has {len(TEXT)} characters; loopback, {os.cpu_count()} cores"
    )
    print(f"{'':32} {'calls/s':>8} {'median ms':>10} {'gateway CPU ms/call':>20}")
    for name, row in rows.items():
        print(f"{name:32} {row.calls_per_second:8.0f} {row.latency_ms:10.2f} {row.gateway_cpu_ms:20.2f}")
    print(f"budget: {BUDGET_MS:g} ms CPU per call in the gateway")


@contextmanager
def _gateway(upstream: str) -> Iterator[tuple[str, str, int]]:
    kind = "open_ai" if upstream else "stand_in"
    service = Upstream(name="model", kind=kind, address=upstream, key="any", identity=f"{kind} benchmark")
    with tempfile.TemporaryDirectory() as folder:
        settings = GatewaySettings(admin=secrets.token_hex(8), store=str(Path(folder) / "calls.sqlite"))
        with GatewayProcess(settings) as gateway:
            account = gateway.open_account("benchmark", [service])
            yield f"http://127.0.0.1:{gateway.port}/{account.token}/model", account.token, gateway.pid


def _measure(address: str, key: str, pid: int | None, numbers: range, line: str = "0-beef-{}") -> Measured:
    asyncio.run(_call_all(address, key, range(-CONCURRENCY, 0), lambda _: "0-warm-0"))
    before, started = _cpu_ms(pid), time.perf_counter()
    latencies = asyncio.run(_call_all(address, key, numbers, line.format))
    seconds = time.perf_counter() - started
    cpu = (_cpu_ms(pid) - before) / len(numbers)
    return Measured(len(numbers) / seconds, statistics.median(latencies) * 1000, cpu)


async def _call_all(address: str, key: str, numbers: range, line: Callable[[int], str]) -> list[float]:
    transport = DirectTransport(urlsplit(address))
    source = iter(numbers)
    latencies: list[float] = []

    async def work() -> None:
        for number in source:
            started = time.perf_counter()
            answer = await transport.send(_request(number, key, line(number)))
            assert answer.status == 200, await answer.read()
            await answer.read()
            latencies.append(time.perf_counter() - started)

    await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
    await transport.close()
    return latencies


def _request(number: int, key: str, line: str) -> Request:
    messages = [{"role": "user", "content": f"{number}: {TEXT} When does the ferry leave?"}]
    body = json.dumps({"model": "gpt-4o-mini", "temperature": 0, "messages": messages}).encode()
    tracking = json.dumps({"flow_id": "flow", "root_run_id": line}).encode()
    headers = [
        (b"authorization", f"Bearer {key}".encode()),
        (b"content-type", b"application/json"),
        (b"ms-azure-ai-promptflow", tracking),
    ]
    return Request(method="POST", path="/chat/completions", headers=headers, body=body)


def _cpu_ms(pid: int | None) -> float:
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
