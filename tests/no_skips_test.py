from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SKIPPED_TEST = "import pytest\n\ndef test_x():\n    pytest.skip('no browser')\n"
SKIPPED_MODULE = "import pytest\n\npytest.skip('no browser', allow_module_level=True)\n"
XFAILED = "import pytest\n\n@pytest.mark.xfail(reason='known')\ndef test_x():\n    raise ValueError\n"


def run_pytest(folder: Path, text: str, root: Path, *, forbidden: bool) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(text)
    env = {**os.environ, "PYTHONPATH": str(root), "LLMOPS_NO_SKIPS": "1" if forbidden else ""}
    command = [sys.executable, "-m", "pytest", "-p", "tests.no_skips", "-p", "no:cacheprovider", "-p", "no:xdist", "."]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("text", [SKIPPED_TEST, SKIPPED_MODULE])
def test_a_skip_fails_where_nothing_may_be_skipped(tmp_path: Path, root: Path, text: str) -> None:
    result = run_pytest(tmp_path, text, root, forbidden=True)
    assert result.returncode != 0
    assert "Nothing may be skipped here (LLMOPS_NO_SKIPS=1). Skipped: no browser" in result.stdout


def test_a_skip_is_a_skip_elsewhere(tmp_path: Path, root: Path) -> None:
    result = run_pytest(tmp_path, SKIPPED_TEST, root, forbidden=False)
    assert result.returncode == 0
    assert "1 skipped" in result.stdout


def test_an_expected_failure_is_no_skip(tmp_path: Path, root: Path) -> None:
    result = run_pytest(tmp_path, XFAILED, root, forbidden=True)
    assert result.returncode == 0
    assert "1 xfailed" in result.stdout
