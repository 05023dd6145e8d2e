"""Start processes from one interpreter that has imported the framework: that is most of what their start takes.

It forks before anything of a user's is imported, so what a flow imports, sets or starts is its own process's. The
control socket is standard input: a message with three descriptors asks for a process on these pipes and is answered
with its `pid`; the message is the list of arguments with which the process would have been started, JSON. The end of a
process is told as `pid` and `code`. The end of the socket is the order to exit.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import signal
import socket
from pathlib import Path

from .preload import preload

_TASKS = Path("/proc/self/task")
_LONGEST_REQUEST = 65536


def serve_forks(modules: list[str]) -> list[str]:
    """Serve until the driver goes; returns in each process, with its pipes as standard streams.

    Args:
        modules: to import beside the framework.

    Returns:
        What the process was asked to be.
    """
    control = socket.socket(fileno=os.dup(0))
    gc.disable()
    preload(modules)
    if len(list(_TASKS.iterdir())) > 1:
        os._exit(0)  # a library runs threads, whose locks a fork would copy; the driver starts its processes without us
    gc.freeze()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            ready = [key.fd for key, _ in selector.select()]
            if woken in ready:
                os.read(woken, 4096)
                _tell_ended(control)
            if control.fileno() in ready:
                asked, pipes = _receive(control)
                pid = os.fork()
                if not pid:
                    break
                _set_group(pid)
                _close(*pipes)
                control.send(json.dumps({"pid": pid}).encode())
    _become_another(pipes)
    _close(woken, wake, control.detach())
    return asked


def _receive(control: socket.socket) -> tuple[list[str], list[int]]:
    request, pipes, _, _ = socket.recv_fds(control, _LONGEST_REQUEST, 3)
    if not request:
        os._exit(0)
    return json.loads(request), pipes


def _set_group(pid: int) -> None:
    """Give a process a group of its own; both sides do it, so that it is so for whoever looks first."""
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.setpgid(pid, pid)


def _become_another(pipes: list[int]) -> None:
    os.setpgid(0, 0)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for descriptor, pipe in enumerate(pipes):
        os.dup2(pipe, descriptor)
    _close(*pipes)
    gc.enable()


def _tell_ended(control: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        control.send(json.dumps({"pid": pid, "code": os.waitstatus_to_exitcode(status)}).encode())


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
