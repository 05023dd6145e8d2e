"""Measure the router of a local endpoint beside calling the serving process directly.

The flow is a plain Python function that answers at once, so that nothing but the two servers is measured. Times on a
busy machine vary; the router's own CPU time per request hardly does.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from llmops.backends.local.endpoints import LocalEndpoints
from llmops.backends.local.serving.upstream import Upstream
from llmops.backends.protocols import DeploymentRequest
from llmops.config.model import Environment
from llmops.flows.digest import digest_files
from llmops.records import FlowRef, write_record
from llmops.releases import Manifest, ModelRecord, PackagedFile

REQUESTS = 3000
CONCURRENCIES = (1, 16, 64)
SOURCE = b"async def answer(question: str) -> dict:\n    return {'answer': question[::-1]}\n"
ENDPOINT, DEPLOYMENT = "benchmark", "only"


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a number of requests took; latencies in milliseconds, CPU in milliseconds per request."""

    per_second: float
    p50: float
    p99: float
    cpu: float


def make_package(folder: Path) -> ModelRecord:
    """Write the package of a one-line flow."""
    (folder / "flow").mkdir(parents=True)
    (folder / "flow" / "echo.py").write_bytes(SOURCE)
    content = hashlib.sha256(SOURCE).hexdigest()
    digest = digest_files({"echo.py": content})
    manifest = Manifest(
        model="echo",
        digest=digest,
        flow=FlowRef(path=".", digest=digest),
        project="flow",
        definition="echo.py",
        flow_kind="callable",
        entry="echo:answer",
        files={"flow/echo.py": PackagedFile(sha256=content, name="echo.py")},
    )
    write_record(folder / "manifest.json", manifest)
    address = f"sha256:{hashlib.sha256((folder / 'manifest.json').read_bytes()).hexdigest()}"
    return ModelRecord(name="echo", version="1", digest=digest, manifest=address, created_at="", created_by="")


def cpu_seconds(pid: int) -> float:
    """Read how long a process has computed (user and system)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def put_under_load(port: int, key: str, concurrency: int, *, pid: int) -> Load:
    """Send the requests over as many connections as are in flight at once."""
    client = Upstream(port)
    headers = [(b"authorization", f"Bearer {key}".encode()), (b"content-type", b"application/json")]
    left = iter(range(REQUESTS))
    latencies: list[float] = []

    async def send_some() -> None:
        for _ in left:
            started = time.perf_counter()
            answer = await client.send("POST", b"/score", headers, b'{"question": "how fast"}')
            body = await answer.read()
            latencies.append((time.perf_counter() - started) * 1000)
            assert answer.status == 200, body

    started, computed = time.perf_counter(), cpu_seconds(pid)
    await asyncio.gather(*(send_some() for _ in range(concurrency)))
    took = time.perf_counter() - started
    client.close()
    latencies.sort()
    return Load(
        per_second=REQUESTS / took,
        p50=latencies[REQUESTS // 2],
        p99=latencies[REQUESTS * 99 // 100],
        cpu=(cpu_seconds(pid) - computed) * 1000 / REQUESTS,
    )


def measure(folder: Path) -> None:
    """Print the table."""
    model = make_package(folder / "package")
    endpoints = LocalEndpoints(folder / "endpoints", Environment(name="benchmark"), {})
    endpoints.ensure_endpoint(ENDPOINT, tags={})
    settings = {"max_concurrent_requests": max(CONCURRENCIES)}
    try:
        endpoints.create_deployment(
            ENDPOINT,
            DeploymentRequest(name=DEPLOYMENT, model=model, package=folder / "package", settings=settings),
        )
        router = endpoints.start(ENDPOINT)
        while (serving := router.call("status")["deployments"][DEPLOYMENT])["status"] != "healthy":
            time.sleep(0.1)
        endpoints.update_endpoint(ENDPOINT, traffic={DEPLOYMENT: 100})
        key = endpoints.stored(ENDPOINT).keys["primary"]
        direct_port = port_of(serving["pid"])
        print(f"{'in flight':>9}  {'':8} {'requests/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'CPU ms/request':>15}")
        for concurrency in CONCURRENCIES:
            direct = asyncio.run(put_under_load(direct_port, key, concurrency, pid=serving["pid"]))
            routed = asyncio.run(put_under_load(router.port, key, concurrency, pid=router.pid))
            for what, load in (("direct", direct), ("router", routed)):
                figures = f"{load.per_second:>10.0f} {load.p50:>8.2f} {load.p99:>8.2f} {load.cpu:>15.2f}"
                print(f"{concurrency:>9}  {what:8} {figures}")
            print(f"{'':9}  {'added':8} {'':10} {routed.p50 - direct.p50:>8.2f} {routed.p99 - direct.p99:>8.2f}")
    finally:
        endpoints.stop(ENDPOINT)


def port_of(pid: int) -> int:
    """Find where a process listens on loopback."""
    sockets = {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()}
    for line in Path("/proc/net/tcp").read_text(encoding="utf-8").splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
            return int(fields[1].partition(":")[2], 16)
    raise LookupError(pid)


def main() -> int:
    """Measure on Linux, where /proc tells what a process computes."""
    # The default action would leave the router running: it outlives whoever started it.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if sys.platform != "linux":
        print("needs /proc")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
