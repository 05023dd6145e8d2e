"""Refuse connections and look-ups that would leave this machine.

Imported by the test process, and by every Python that it starts, which finds this file on PYTHONPATH.
"""

import sys


class LeavesTheMachineError(RuntimeError):
    """A test, or a process that it started, tried to reach another machine."""


_LOCAL_NAMES = frozenset({"", "localhost", "localhost.localdomain", "::1", "0.0.0.0", "::"})  # noqa: S104


def is_local(host: object) -> bool:
    """Tell whether a host name or address is of this machine's loopback."""
    if host is None:
        return True
    name = host.decode("ascii", "replace") if isinstance(host, (bytes, bytearray)) else str(host)
    parts = name.split(".")
    is_loopback = len(parts) == 4 and parts[0] == "127" and all(part.isdigit() for part in parts)
    return name in _LOCAL_NAMES or is_loopback


def refuse_outside(event: str, arguments: tuple[object, ...]) -> None:
    """Raise on the audit events of sockets that go elsewhere.

    Raises:
        LeavesTheMachineError: the address is not of loopback; it is no OSError, so that no code under test takes it for
            a network failure that it should retry.
    """
    host: object
    if event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) and isinstance(address[0], (str, bytes)) else None
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if not is_local(host):
        raise LeavesTheMachineError(f"tests reach loopback only, not {host!r}")


if not getattr(sys, "_llmops_sealed", False):
    sys._llmops_sealed = True  # type: ignore[attr-defined]
    sys.addaudithook(refuse_outside)
