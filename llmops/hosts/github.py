"""GitHub Actions: workflow commands and the files that the runner reads after a step.

Source: docs.github.com, workflow commands for GitHub Actions.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from llmops.errors import UsageError
from llmops.hosts.host import Annotation, Env, Host, Level

SUMMARY_BYTES = 1 << 20
"""A step's summary; a larger one is refused as a whole."""

_CUT = b"\n\n_This summary was cut; the report files have everything._\n"
_LEVELS: Mapping[Level, str] = {"error": "error", "warning": "warning", "note": "notice"}


def _annotate(annotation: Annotation) -> str:
    places = {"file": annotation.file, "line": str(annotation.line or ""), "col": str(annotation.column or "")}
    properties = {**(places if annotation.file else {}), "title": annotation.title}
    written = ",".join(f"{name}={_escape_property(value)}" for name, value in properties.items() if value)
    return f"::{_LEVELS[annotation.level]} {written}::{_escape(annotation.message)}"


def _set_output(env: Env, name: str, value: str) -> Sequence[str]:
    # The delimiter is random, so that no value can end itself and set a second output.
    delimiter = f"llmops_{secrets.token_hex(16)}"
    _append(env, "GITHUB_OUTPUT", f"{name}<<{delimiter}\n{value}\n{delimiter}\n".encode())
    return ()


def _add_summary(env: Env, path: Path) -> Sequence[str]:
    place = env.get("GITHUB_STEP_SUMMARY")
    written = Path(place).stat().st_size if place and Path(place).is_file() else 0
    text = path.read_bytes()
    left = SUMMARY_BYTES - written - 1
    if len(text) + 1 > left:
        kept = text[: max(0, left - len(_CUT))].rpartition(b"\n")[0]
        text = kept + _CUT if kept else b""
    if text:
        _append(env, "GITHUB_STEP_SUMMARY", text + b"\n")
    return ()


def _append(env: Env, variable: str, content: bytes) -> None:
    place = env.get(variable)
    if not place:
        return
    try:
        with Path(place).open("ab") as handle:
            handle.write(content)
    except OSError as error:
        raise UsageError.of(f"cannot write to ${variable}", where=place, found=error.strerror or str(error)) from error


def _run_link(env: Env) -> str:
    if not env.get("GITHUB_REPOSITORY") or not env.get("GITHUB_RUN_ID"):
        return ""
    server = env.get("GITHUB_SERVER_URL", "https://github.com")
    return f"{server}/{env['GITHUB_REPOSITORY']}/actions/runs/{env['GITHUB_RUN_ID']}"


def _escape(text: str) -> str:
    # The runner still understands the older `##[command]`, wherever it stands in a line.
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A").replace("##", "# #")


def _escape_property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")


GITHUB = Host(
    name="github",
    workspace="GITHUB_WORKSPACE",
    is_here=lambda env: env.get("GITHUB_ACTIONS") == "true",
    open_group=lambda title: [f"::group::{_escape(title)}"],
    close_group=lambda: ["::endgroup::"],
    mask=lambda value: [f"::add-mask::{_escape(line)}" for line in value.splitlines() if line.strip()],
    annotate=_annotate,
    set_output=_set_output,
    add_summary=_add_summary,
    run_link=_run_link,
    artifacts_link=lambda link: f"{link}#artifacts",
)
