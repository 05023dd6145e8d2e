"""The pages are there, and their links lead somewhere."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from llmops.cli.main import build_parser

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")


def commands() -> dict[str, argparse.ArgumentParser]:
    parsers = next(action for action in build_parser()._actions if isinstance(action.choices, dict))
    return dict(parsers.choices or {})


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_has_a_page_that_the_readme_leads_to(name: str) -> None:
    page = ROOT / "docs/commands" / f"{name}.md"
    assert page.is_file()
    assert f"docs/commands/{name}.md" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    links = _LINK.findall(page.read_text(encoding="utf-8"))
    dead = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_is_reached_from_the_readme(page: Path) -> None:
    seen, pending = {ROOT / "README.md"}, [ROOT / "README.md"]
    while pending:
        here = pending.pop()
        for link in _LINK.findall(here.read_text(encoding="utf-8")):
            target = (here.parent / link).resolve()
            if target.suffix == ".md" and target.is_file() and target not in seen:
                seen.add(target)
                pending.append(target)
    assert page in seen
