"""What every command is given by the command line: where it is, what surrounds it, where it writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from llmops.backends.protocols import Progress
from llmops.hosts.detect import NONE
from llmops.hosts.host import Host


@dataclass(frozen=True, kw_only=True)
class Context:
    """The collaborators of a command, built once at the edge.

    Attributes:
        folder: where the user is; the project is the nearest one upwards.
        env: environment variables.
        write: takes text for standard output, without the final newline; nothing in it acts on the CI system.
        command: takes a line that the CI system is to obey, as a function of `host` gave it.
        say: takes text for people, on standard error.
        progress: is told how far runs are.
        host: the CI system that runs the command.
        width: columns of standard output; color: whether it takes colours; encoding: what it can show.
    """

    folder: Path
    env: Mapping[str, str]
    write: Callable[[str], None]
    command: Callable[[str], None]
    say: Callable[[str], None]
    progress: Progress
    host: Host = NONE
    width: int = 100
    color: bool = False
    encoding: str = "utf-8"
