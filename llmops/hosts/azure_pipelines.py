"""Azure Pipelines: logging commands.

Source: learn.microsoft.com, logging commands; the escapes are those of the agent's own parser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from llmops.hosts.host import Annotation, Env, Host, Level

_LEVELS: Mapping[Level, str] = {"error": "error", "warning": "warning"}


def _annotate(annotation: Annotation) -> str:
    level = _LEVELS.get(annotation.level)
    text = _escape(f"{annotation.title}: {annotation.message}")
    if level is None:  # there is no level below a warning
        place = f"{annotation.file}:{annotation.line}: " if annotation.file else ""
        return f"note: {_escape(place)}{text}"
    places = {"sourcepath": annotation.file, "linenumber": annotation.line, "columnnumber": annotation.column}
    known = {name: value for name, value in places.items() if value} if annotation.file else {}
    code = {"code": annotation.code} if annotation.code else {}
    return _command("task.logissue", {"type": level, **known, **code}, text)


def _set_output(_: Env, name: str, value: str) -> Sequence[str]:
    return [_command("task.setvariable", {"variable": name, "isOutput": "true", "isReadOnly": "true"}, _escape(value))]


def _add_summary(_: Env, path: Path) -> Sequence[str]:
    return [_command("task.uploadsummary", {}, _escape(str(path.resolve())))]


def _run_link(env: Env) -> str:
    collection, project, build = (
        env.get(name, "") for name in ("SYSTEM_COLLECTIONURI", "SYSTEM_TEAMPROJECT", "BUILD_BUILDID")
    )
    return f"{collection}{quote(project)}/_build/results?buildId={build}" if collection and project and build else ""


def _command(name: str, properties: Mapping[str, object], message: str) -> str:
    written = "".join(f"{key}={_escape_property(str(value))};" for key, value in properties.items())
    return f"##vso[{name}{' ' if written else ''}{written}]{message}"


def _escape(text: str) -> str:
    escaped = text.replace("%", "%AZP25").replace("\r", "%0D").replace("\n", "%0A")
    return escaped.replace("##", "# #")


def _escape_property(text: str) -> str:
    return _escape(text).replace(";", "%3B").replace("]", "%5D")


AZURE_PIPELINES = Host(
    name="azure-pipelines",
    workspace="BUILD_SOURCESDIRECTORY",
    is_here=lambda env: env.get("TF_BUILD", "").lower() == "true",
    open_group=lambda title: [f"##[group]{_escape(title)}"],
    close_group=lambda: ["##[endgroup]"],
    mask=lambda value: [_command("task.setsecret", {}, _escape(line)) for line in value.splitlines() if line.strip()],
    annotate=_annotate,
    set_output=_set_output,
    add_summary=_add_summary,
    run_link=_run_link,
    artifacts_link=lambda link: f"{link}&view=artifacts&type=publishedArtifacts",
)
