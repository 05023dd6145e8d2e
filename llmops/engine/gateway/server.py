"""Serve the gateway on a socket that the driver has opened."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
import threading
from typing import Any

import uvicorn

from llmops.core.documents import from_json
from llmops.engine.gateway.app import GatewayApp
from llmops.engine.gateway.ledger import LedgerWriter
from llmops.engine.gateway.service import ModelService
from llmops.engine.gateway.settings import GatewaySettings, Registration
from llmops.engine.gateway.transport import StandInTransport
from llmops.engine.standin.server import StandInApp

# An idle connection that the server closes while a client reuses it is a spurious failure: keep them open for long.
_KEEP_ALIVE_S = 3600


def serve(listener: socket.socket, ledger: int) -> None:
    """Serve until standard input ends: its first line has the settings, each further one registers a run.

    Args:
        listener: bound and listening.
        ledger: descriptor of the file that takes an entry for each call.

    Raises:
        UsageError: the cache, the recording or the faults cannot be used.
    """
    settings: GatewaySettings = from_json(GatewaySettings, json.loads(sys.stdin.buffer.readline()))
    stand_in = StandInApp(latency_ms=settings.stand_in.latency_ms, calls_per_second=settings.stand_in.calls_per_second)
    service = ModelService(settings, LedgerWriter(ledger), StandInTransport(stand_in))
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # a broken stream is reported in the ledger
    config = uvicorn.Config(
        GatewayApp(service, stand_in, settings.admin),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=_KEEP_ALIVE_S,
    )
    asyncio.run(_serve(uvicorn.Server(config), listener, service))


async def _serve(server: uvicorn.Server, listener: socket.socket, service: ModelService) -> None:
    loop = asyncio.get_running_loop()
    threading.Thread(target=_read_registrations, args=[server, service, loop], daemon=True).start()
    try:
        await server.serve(sockets=[listener])
    finally:
        await service.close()


def _read_registrations(server: uvicorn.Server, service: ModelService, loop: asyncio.AbstractEventLoop) -> None:
    for line in sys.stdin.buffer:
        message: Any = json.loads(line)
        loop.call_soon_threadsafe(service.register, from_json(Registration, message))
    server.should_exit = server.force_exit = True
