"""Remarks at a line of a file, as each CI system shows them in the change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

Host = Literal["github", "azure-pipelines"]

_GITHUB_LEVEL: Mapping[str, str] = {"error": "error", "warning": "warning", "note": "notice"}
_AZURE_LEVEL: Mapping[str, str] = {"error": "error", "warning": "warning"}


def host_of(env: Mapping[str, str]) -> Host | None:
    """Say which CI system runs this process; None on a person's machine."""
    if env.get("GITHUB_ACTIONS") == "true":
        return "github"
    return "azure-pipelines" if env.get("TF_BUILD", "").lower() == "true" else None


def annotate(host: Host, *, severity: str, file: str, line: int, column: int, title: str, message: str) -> str:
    """Write the log command for one remark.

    Args:
        severity: error, warning or note; Azure Pipelines has no notes, they become plain lines there.

    Source: workflow commands of GitHub Actions; `task.logissue` of Azure Pipelines.
    """
    return _WRITERS[host](severity, file, line, column, title, message)


def _github(severity: str, file: str, line: int, column: int, title: str, message: str) -> str:
    properties = {"file": file, "line": str(line), "col": str(column), "title": title}
    written = ",".join(f"{name}={_escape_github_property(value)}" for name, value in properties.items())
    return f"::{_GITHUB_LEVEL[severity]} {written}::{_escape_github(message)}"


def _azure(severity: str, file: str, line: int, column: int, title: str, message: str) -> str:
    level = _AZURE_LEVEL.get(severity)
    if level is None:
        return f"{_escape_azure(file)}:{line}: {_escape_azure(message)}"
    properties = f"type={level};sourcepath={_escape_azure(file)};linenumber={line};columnnumber={column}"
    return f"##vso[task.logissue {properties};code={_escape_azure(title.partition(' ')[0])};]{_escape_azure(message)}"


def _escape_github(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A").replace("##", "# #")


def _escape_github_property(text: str) -> str:
    return _escape_github(text).replace(":", "%3A").replace(",", "%2C")


def _escape_azure(text: str) -> str:
    escaped = text.replace("%", "%AZP25").replace("\r", "%0D").replace("\n", "%0A").replace("##", "# #")
    return escaped.replace(";", "%3B").replace("]", "%5D")


_WRITERS: Mapping[Host, Callable[[str, str, int, int, str, str], str]] = {"github": _github, "azure-pipelines": _azure}
