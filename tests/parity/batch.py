"""What the tests share: promptflow's batch run in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parent / "promptflow_batch.py"


def run_promptflow(python: Path, folder: Path, request: Mapping[str, Any]) -> Any:
    """Run `promptflow_batch.py`, sealed like the suite.

    Args:
        python: of an environment that holds all of promptflow.
        folder: an empty folder for what promptflow writes.
        request: what the script takes, without `home`.
    """
    path = folder / "request.json"
    path.write_text(json.dumps({**request, "home": str(folder / "home")}), encoding="utf-8")
    command = [str(python), str(SCRIPT), str(path)]
    done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
