"""The way out for jobs: they reach hosts that are not emulated as this machine does, by its proxy if it has one."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
import urllib.request
from urllib.parse import unquote, urlsplit

_CONNECT_S = 30.0
_LONGEST_HEAD = 65536


def open_tunnel(host: str, port: int) -> socket.socket:
    """Connect to a host.

    Raises:
        OSError: it cannot be reached, or the proxy does not let through.
    """
    proxy = urlsplit(urllib.request.getproxies().get("https", ""))
    if not proxy.hostname or urllib.request.proxy_bypass(host):
        return socket.create_connection((host, port), timeout=_CONNECT_S)
    there = socket.create_connection((proxy.hostname, proxy.port or 80), timeout=_CONNECT_S)
    head = f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n"
    if proxy.username:
        account = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
        head += f"Proxy-Authorization: Basic {base64.b64encode(account).decode()}\r\n"
    there.sendall(f"{head}\r\n".encode())
    status = _read_head(there).split(b" ", 2)[1:2]
    if status != [b"200"]:
        there.close()
        raise ConnectionError(f"the proxy answered {status}")
    return there


def _read_head(there: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n") and len(head) < _LONGEST_HEAD:
        byte = there.recv(1)
        if not byte:
            break
        head += byte
    return head


def join(one: socket.socket, other: socket.socket) -> None:
    """Pass on what either says, until both have said all."""
    one.settimeout(None)
    other.settimeout(None)
    back = threading.Thread(target=_pump, args=(other, one), daemon=True)
    back.start()
    _pump(one, other)
    back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
