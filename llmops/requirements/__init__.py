"""Hashed requirements files that `llmops setup` installs."""

from __future__ import annotations

import importlib.resources

LLM_TOOLS = importlib.resources.files(__name__) / "llm-tools.txt"


def pins_of(lock: str) -> list[tuple[str, str]]:
    """Read name and version of each package of a lock file's text."""
    lines = (line.split() for line in lock.splitlines() if "==" in line and not line.lstrip().startswith("#"))
    pins = (words[0].partition("==") for words in lines)
    return [(name, version) for name, _, version in pins]
