"""What a command is given in a test, and what a runner reads of it."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path

from llmops.commands.context import Context
from llmops.hosts.detect import detect
from llmops.hosts.progress import ProgressDisplay


def build_context(folder: Path, lines: list[str] | None = None, *, env: Mapping[str, str] | None = None) -> Context:
    """Build a context whose standard output and standard error are both collected."""
    written = [] if lines is None else lines
    return Context(
        folder=folder,
        env=env or {},
        write=written.append,
        command=written.append,
        say=written.append,
        progress=ProgressDisplay(io.StringIO(), is_terminal=False),
        host=detect(env or {}),
    )


def read_outputs(path: Path) -> dict[str, str]:
    """Read step outputs as GitHub's runner does."""
    found: dict[str, str] = {}
    lines = iter(path.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if plain := re.fullmatch(r"([A-Za-z0-9_]+)=(.*)", line):
            found[plain[1]] = plain[2]
            continue
        name, delimiter = re.fullmatch(r"([A-Za-z0-9_]+)<<(\S+)", line).groups()  # type: ignore[union-attr]
        values: list[str] = []
        for value in lines:
            if value == delimiter:
                break
            values.append(value)
        found[name] = "\n".join(values)
    return found
