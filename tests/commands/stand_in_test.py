"""The stand-in model in the foreground."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from llmops.commands.stand_in import stand_in
from llmops.errors import UsageError
from tests.projects import DEADLINE_S


def test_serves_until_ctrl_c_and_then_is_done() -> None:
    program = "import sys; from llmops.commands.stand_in import stand_in; sys.exit(stand_in())"
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert child.stdout
    with child.stdout as lines:
        assert json.loads(lines.readline())["stand_in"] is True
        child.send_signal(signal.SIGINT)
        assert child.wait(DEADLINE_S) == 0


def test_a_port_that_cannot_be_used_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"127\.0\.0\.1:70000: the stand-in model cannot listen"):
        stand_in(port=70000)
