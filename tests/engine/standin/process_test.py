"""The child process listens on loopback, says so in one line, and goes with its parent."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest

from llmops.engine.standin import StandInProcess
from llmops.errors import BackendError, DeadlineError
from tests.projects import DEADLINE_S

COMMAND = [sys.executable, "-m", "llmops.engine.standin"]


def test_prints_one_line_of_json_and_ends_with_its_standard_input() -> None:
    child = subprocess.Popen([*COMMAND, "--exit-with-stdin"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin
    assert child.stdout
    hello = json.loads(child.stdout.readline())
    assert hello == {"port": hello["port"], "pid": child.pid, "stand_in": True}
    child.stdin.close()
    try:
        assert child.wait(DEADLINE_S) == 0
        assert child.stdout.read() == b""
    finally:
        child.kill()
        child.stdout.close()


def test_closing_ends_the_child_and_can_be_repeated() -> None:
    process = StandInProcess()
    assert process.stats().calls == 0
    process.close()
    process.close()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", process.port), timeout=1):
        pass


def test_a_port_in_use_is_reported_with_its_number() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BackendError) as error:
            StandInProcess(port=port)
    assert f"127.0.0.1:{port}: the stand-in model cannot listen" in str(error.value)


def test_a_child_that_does_not_listen_in_time_is_a_deadline() -> None:
    with pytest.raises(DeadlineError) as error:
        StandInProcess(deadline_s=0.0)
    assert str(error.value) == "the stand-in model does not listen\n  expected it to listen within 0 s"
