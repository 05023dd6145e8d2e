"""Run the corpus with promptflow's own batch run, in one process of an environment that holds all of promptflow."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.conformance.corpus import Case

SCRIPT = Path(__file__).with_name("promptflow_cases.py")


def run_theirs(python: Path, root: Path, cases: Sequence[Case], address: str, folder: Path) -> dict[str, Any]:
    """Run cases; returns name to `{"status", "lines", "metrics"}` or `{"error"}`.

    Args:
        python: of an environment that holds all of promptflow.
        root: the project that `engine.make_project` made.
        cases: what to run.
        address: of the echoing model.
        folder: an empty folder for what promptflow writes.
    """
    folder.mkdir(parents=True)
    listed = [{**asdict(case), "flow": case.flow, "data": case.data} for case in cases]
    request = {"home": str(folder / "home"), "address": address, "root": str(root), "cases": listed}
    path = folder / "request.json"
    path.write_text(json.dumps(request), "utf-8")
    command = [str(python), str(SCRIPT), str(path)]
    done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return results
