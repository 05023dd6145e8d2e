"""The import contracts of pyproject.toml do find what they forbid."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FORBIDDEN = {
    "core/x.py": "import llmops.engine",
    "records.py": "import llmops.config",
    "config/x.py": "import llmops.commands",
    "reports/x.py": "import llmops.engine",
    "hosts/x.py": "import llmops.evaluators",
    "engine/x.py": "import llmops.evaluators",
    "backends/x.py": "import llmops.reports",
    "commands/x.py": "import azure.identity",
    "backends/local/x.py": "from azure.ai.ml import MLClient",
    "engine/x_promptflow.py": "from promptflow.core import Flow",
    "new_package/__init__.py": "",
}
ALLOWED = {
    "backends/x.py": "import llmops.engine, llmops.evaluators",
    "commands/x.py": "import llmops.backends, llmops.hosts, llmops.reports, llmops.engine, llmops.flows, llmops.core",
    "engine/worker/__init__.py": "",
    "engine/worker/__main__.py": "from promptflow.core import Flow",
    "backends/local/serving.py": "import promptflow.core",
    "backends/azure/__init__.py": "import azure.identity, promptflow.azure",
    "backends/azure/runs.py": "from azure.ai.ml import MLClient",
}


def lint_with(files: dict[str, str], root: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    shutil.copytree(root / "llmops", folder / "llmops", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", folder / "pyproject.toml")
    for name, text in files.items():
        path = folder / "llmops" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as handle:
            handle.write(f"\n{text}\n")
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("file", "text"), FORBIDDEN.items())
def test_an_import_against_the_arrows_is_found(file: str, text: str, root: Path, tmp_path: Path) -> None:
    assert lint_with({file: text}, root, tmp_path).returncode == 1


def test_imports_along_the_arrows_are_fine(root: Path, tmp_path: Path) -> None:
    result = lint_with(ALLOWED, root, tmp_path)
    assert result.returncode == 0, result.stdout
