"""What is installed in a Python; also run as a program in a flow's own interpreter, so it imports no other of ours."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from typing import Any


def list_installed() -> dict[str, Any]:
    """Describe the interpreter that runs this.

    Returns:
        `python`: its version; `packages`: name as it is written to `[version, requirements]`.
    """
    packages: dict[str, Any] = {}
    for one in importlib.metadata.distributions():
        # Of two of one name, the first on `sys.path` is the one that is imported.
        packages.setdefault(one.metadata["Name"], [one.version, one.requires or []])
    return {"python": platform.python_version(), "packages": packages}


if __name__ == "__main__":
    json.dump(list_installed(), sys.stdout)
