"""A real headless Chromium for the report tests."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Browse = Callable[..., str]


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker of the tests that need a browser."""
    config.addinivalue_line("markers", "chromium: needs the system package chromium")


@pytest.fixture
def browse(chromium: str, tmp_path: Path) -> Browse:
    """Give a function that opens a page and returns its document as it is after scripts have run.

    `browse(html, fragment="change=failed")`; further arguments are options of Chromium. What the browser's console
    says goes to `console.log` in `tmp_path`.
    """

    def open_page(html: str, *options: str, fragment: str = "") -> str:
        page = tmp_path / "report.html"
        page.write_text(html, encoding="utf-8")
        address = f"{page.as_uri()}#{fragment}" if fragment else page.as_uri()
        command = [chromium, *_OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", *options, address]
        done = subprocess.run(command, capture_output=True, check=True, timeout=120, encoding="utf-8")
        (tmp_path / "console.log").write_text(done.stderr, encoding="utf-8")
        return done.stdout

    return open_page


_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
)
