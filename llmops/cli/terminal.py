"""The process's own streams, folder and variables, as commands see them."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmops.commands.context import Context
    from llmops.commands.targets import Tools


def open_context(*, host: str | None = None) -> Context:
    """Open the process's streams, folder and variables; `host` is detected when none is named."""
    from llmops.commands.context import Context
    from llmops.hosts.detect import detect
    from llmops.hosts.progress import ProgressDisplay

    is_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size((100, 24)).columns
    return Context(
        folder=Path.cwd(),
        env=dict(os.environ),
        write=_write,
        command=lambda line: print(line, flush=True),
        say=say,
        progress=ProgressDisplay(sys.stderr, is_terminal=sys.stderr.isatty(), width=width),
        host=detect(os.environ, asked=host),
        width=width,
        color=is_terminal and "NO_COLOR" not in os.environ,
        encoding=sys.stdout.encoding or "utf-8",
    )


def _write(text: str) -> None:
    """Write to standard output, so that no text of rows, models and files acts as a command of the CI system."""
    from llmops.reports.plain_text import defuse_output

    print(defuse_output(text), flush=True)


def open_tools() -> Tools:
    """Build the collaborators of delivery commands: the real backends and the real time."""
    from llmops.backends.registry import open_delivery
    from llmops.commands.targets import SystemClock, Tools

    return Tools(open_delivery=open_delivery, clock=SystemClock())


def say(text: str) -> None:
    """Write to standard error, so that no text acts as a command of the CI system."""
    from llmops.reports.plain_text import defuse_log_commands

    print(defuse_log_commands(text), file=sys.stderr, flush=True)


def read_line(prompt: str) -> str | None:
    """Ask at the terminal; None at the end of input.

    Raises:
        KeyboardInterrupt: Ctrl-C, which an event loop around the call would only make a note of.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        print(prompt, end="", flush=True)
        if sys.stdin.isatty():
            _wait_for_a_line()
        return input()
    except EOFError:
        return None
    finally:
        signal.signal(signal.SIGINT, before)


def _wait_for_a_line() -> None:
    """Wait until the terminal has a line: `input` would not notice a signal that came just before it began to read."""
    heard, told = os.pipe()
    os.set_blocking(told, False)
    before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    try:
        while sys.stdin not in select.select([sys.stdin, heard], [], [])[0]:
            os.read(heard, 4096)
    finally:
        signal.set_wakeup_fd(before)
        os.close(heard)
        os.close(told)
