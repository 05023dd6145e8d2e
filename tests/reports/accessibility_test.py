"""axe-core finds nothing on our pages, in a real browser; and pictures of them are kept for people."""

from __future__ import annotations

import json
import re
import struct
import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest

from llmops.reports import history_page, html
from tests.reports.conftest import Browse
from tests.reports.histories import build_history
from tests.reports.verdicts import build_verdict, failed_verdict, hostile_verdict

PAGES: dict[str, Callable[[], str]] = {
    "report-failed": lambda: html.render(failed_verdict()),
    "report-passed": lambda: html.render(build_verdict()),
    "report-hostile": lambda: html.render(hostile_verdict()),
    "history": lambda: history_page.render(build_history()),
    "history-empty": lambda: history_page.render([]),
}
LOOKS = {
    "light": "--blink-settings=preferredColorScheme=1",
    "dark": "--blink-settings=preferredColorScheme=0",
}
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
PROBE = """<script>{axe}</script><script>
document.querySelectorAll("details").forEach((part) => {{ part.open = true; }});
axe.run(document, {{ resultTypes: ["violations"] }}).then((found) => {{
  const found_by = found.violations.map((one) => [one.id, one.nodes.map((node) => node.html.slice(0, 200))]);
  const out = document.createElement("pre");
  out.id = "axe";
  out.textContent = JSON.stringify({{
    violations: found_by, passes: found.passes.length, dark: matchMedia("(prefers-color-scheme: dark)").matches,
  }});
  document.body.append(out);
}});
</script></body>"""

pytestmark = pytest.mark.chromium


@pytest.mark.parametrize("look", sorted(LOOKS))
@pytest.mark.parametrize("name", sorted(PAGES))
def test_axe_finds_nothing(browse: Browse, node_packages: Path, name: str, look: str) -> None:
    axe = (node_packages / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")
    page = POLICY.sub("", PAGES[name]()).replace("</body>", PROBE.format(axe=axe.replace("</script", "<\\/script")))
    dom = browse(page, LOOKS[look], "--virtual-time-budget=30000", "--window-size=1280,900")
    found = json.loads(unescape(re.search(r'<pre id="axe">(.*?)</pre>', dom, re.DOTALL)[1]))  # type: ignore[index]
    assert found["violations"] == []
    assert found["passes"] > 10
    assert found["dark"] == (look == "dark")


@pytest.mark.parametrize("name", ["report-failed", "history"])
@pytest.mark.parametrize("width", [360, 1280])
def test_a_picture_of_the_page_is_kept(chromium: str, root: Path, tmp_path: Path, name: str, width: int) -> None:
    page, frame = tmp_path / "page.html", tmp_path / "frame.html"
    page.write_text(PAGES[name](), encoding="utf-8")
    # A window of Chromium has at least 500 pixels.
    style = f"<style>body{{margin:0}}iframe{{border:0;width:{width}px;height:1600px}}</style>"
    frame.write_text(f'<!DOCTYPE html>{style}<iframe src="{page.as_uri()}"></iframe>', encoding="utf-8")
    picture = root / "build" / "screenshots" / f"{name}-{width}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    _photograph(chromium, frame, picture, tmp_path / "profile", width)
    assert struct.unpack(">II", picture.read_bytes()[16:24]) == (max(width, 500), 1600)


@pytest.mark.parametrize("name", ["report-failed", "history"])
def test_the_page_prints(chromium: str, root: Path, tmp_path: Path, name: str) -> None:
    page = tmp_path / "page.html"
    page.write_text(PAGES[name](), encoding="utf-8")
    paper = root / "build" / "screenshots" / f"{name}.pdf"
    paper.parent.mkdir(parents=True, exist_ok=True)
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--no-pdf-header-footer")
    command = [chromium, *options, f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={paper}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert paper.read_bytes().startswith(b"%PDF")


def _photograph(chromium: str, page: Path, picture: Path, profile: Path, width: int) -> None:
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars")
    size = f"--window-size={max(width, 500)},1600"
    command = [chromium, *options, f"--user-data-dir={profile}", size, f"--screenshot={picture}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
