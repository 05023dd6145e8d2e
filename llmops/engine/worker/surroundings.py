"""What a flow finds around it: working directory, import roots, environment variables."""

from __future__ import annotations

import os
import sys
from typing import Any


def inherit(environ: dict[str, str]) -> None:
    """Take an environment over, as a process does at its start; a forked one has that of the fork server."""
    os.environ.clear()
    os.environ.update(environ)


def enter(message: dict[str, Any]) -> None:
    """Make the flow's folder the working directory and the first place to import from."""
    os.chdir(message["folder"])
    sys.path[:0] = message["paths"]
    sys.dont_write_bytecode = True


def set_environment(variables: dict[str, str], connections: dict[str, Any]) -> None:
    """Set environment variables; `${connection.key}` becomes that value of the connection."""
    for name, value in variables.items():
        os.environ[name] = _from_connection(str(value), connections)


def _from_connection(value: str, connections: dict[str, Any]) -> str:
    if not (value.startswith("${") and value.endswith("}")):
        return value
    name, _, key = value[2:-1].partition(".")
    fields = {**connections[name]["configs"], **connections[name]["secrets"]} if name in connections else {}
    return str(fields.get(key, value))
