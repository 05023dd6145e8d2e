"""Pin what a flow requires to what is installed here, which is what it was judged with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution

_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_TAKEN_PART = ("llmops", "promptflow-core", "promptflow-tools", "openai", "jinja2", "uvicorn", "httpx")


def lock_requirements(text: str) -> str:
    """Pin requirements and all that they need in turn.

    Args:
        text: of a `requirements.txt`. Options, addresses and what is not installed here stay as they are written.

    Returns:
        One `name==version` a line, sorted; then the lines that stay. Markers of other platforms are not followed
        further than to what is installed.
    """
    pins: dict[str, str] = {}
    kept = []
    for line in (line.strip() for line in text.splitlines()):
        if not line or line.startswith("#"):
            continue
        name = _name_of(line)
        if name is None or not _pin(name, pins):
            kept.append(line)
    return "".join(f"{line}\n" for line in [*(f"{name}=={pins[name]}" for name in sorted(pins)), *kept])


def list_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that take part in running and serving flows."""
    import platform

    found = {name: version for name in _TAKEN_PART if (version := _version_of(name))}
    return {"python": platform.python_version(), **found}


def _version_of(name: str) -> str | None:
    try:
        return distribution(name).version
    except PackageNotFoundError:
        return None


def _name_of(line: str) -> str | None:
    match = _NAME.match(line)
    if line.startswith("-") or "://" in line or match is None:
        return None
    return _normalised(match[1])


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _pin(name: str, pins: dict[str, str]) -> bool:
    """Pin a package and what it needs; False when it is not installed."""
    if name in pins:
        return True
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return False
    pins[name] = found.version
    for need in _needs(found.requires or []):
        _pin(need, pins)
    return True


def _needs(requires: list[str]) -> Iterator[str]:
    for line in requires:
        name = _name_of(line)
        if name and "extra ==" not in line:
            yield name
