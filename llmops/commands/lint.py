"""`llmops lint` and `llmops explain`: judge flows, configuration and data without running anything."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmops import __version__
from llmops.commands.context import Context
from llmops.commands.lint_configuration import lint_configuration
from llmops.config.load import EXPERIMENTS
from llmops.errors import ExitCode, Problem, UsageError, near_match
from llmops.flows.folder import relative_to
from llmops.flows.git import list_index
from llmops.flows.lint.finding import Finding
from llmops.flows.lint.flow import LintedFlow, find_definitions, lint_flow
from llmops.flows.lint.repository import check_caches, check_line_endings
from llmops.flows.lint.rules import RULES
from llmops.flows.lint.suppressions import apply_suppressions
from llmops.flows.tree import WorkingTree, in_project, is_within
from llmops.hosts.detect import NONE, detect
from llmops.hosts.host import Annotation, worst_first
from llmops.reports.plain_text import defuse_log_commands
from llmops.reports.sarif import to_sarif

_ORDER = {"error": 0, "warning": 1, "note": 2}
_SUPPRESSIBLE = (".py", ".yaml", ".yml", ".jinja2", ".j2", ".prompty")


def lint(
    *,
    context: Context,
    paths: Sequence[str] = (),
    json_output: bool = False,
    sarif: Path | None = None,
    strict: bool = False,
) -> int:
    """Judge a project, or parts of it.

    Args:
        paths: files and folders; everything when empty.
        json_output: write one JSON document instead of text.
        sarif: also write SARIF 2.1.0 to this file.
        strict: warnings count as errors.

    Returns:
        2 when there is an error, else 0.

    Raises:
        UsageError: a path does not exist, or holds no flow and no configuration.
    """
    root = find_lint_root(context.folder)
    findings = lint_project(root, wanted=_wanted(root, context.folder, paths))
    if sarif is not None:
        sarif.parent.mkdir(parents=True, exist_ok=True)
        document = to_sarif(findings, RULES, version=__version__)
        sarif.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if json_output:
        context.write(json.dumps({"findings": [_to_json(finding) for finding in findings]}, indent=2))
    else:
        _show(context, findings)
    failing = ("error", "warning") if strict else ("error",)
    return ExitCode.USAGE if any(severity_of(finding) in failing for finding in findings) else ExitCode.PASS


def explain(*, context: Context, code: str, json_output: bool = False) -> int:
    """Explain one rule.

    Raises:
        UsageError: there is no such rule.
    """
    rule = RULES.get(code.upper())
    if rule is None:
        fix = near_match(code.upper(), RULES) or "All rules are in docs/lint.md."
        raise UsageError.of(f"there is no rule '{code}'", fix=fix)
    if json_output:
        fields = ("code", "severity", "title", "explanation", "fix")
        context.write(json.dumps({name: getattr(rule, name) for name in fields}, indent=2))
        return ExitCode.PASS
    context.write(f"{rule.code} ({rule.severity}): {rule.title}\n\n{rule.explanation}\n\nFix: {rule.fix}")
    context.write(f"Silence one place: # llmops: ignore[{rule.code}] reason")
    return ExitCode.PASS


def find_lint_root(start: Path) -> Path:
    """Find the folder that paths are relative to: the project's, else the top of the repository, else `start`."""
    start = start.resolve()
    folders = (start, *start.parents)
    marked = next((folder for folder in folders if (folder / EXPERIMENTS).is_dir()), None)
    return marked or next((folder for folder in folders if (folder / ".git").exists()), start)


def lint_project(root: Path, *, wanted: Sequence[str] = ()) -> list[Finding]:
    """Judge all flows of a project, its configuration and its data.

    Args:
        wanted: only what lies in these files and folders, relative to `root`; everything when empty.

    Returns:
        The findings that no comment silences, by file, line and code, each once.
    """
    tree = WorkingTree(root)
    linted = {path: lint_flow(tree, path) for path in find_definitions(tree)}
    findings = [finding for flow in linted.values() for finding in flow.findings]
    findings += _lint_repository(tree, linted, list_index(root))
    if (root / EXPERIMENTS).is_dir():
        findings += lint_configuration(root, tree, _by_path(linted))
    inside = [finding for finding in dict.fromkeys(findings) if _is_wanted(finding.place.file, wanted)]
    files = [name for name in _files(linted) if _is_wanted(name, wanted)]
    kept = apply_suppressions(inside, lambda name: _read(root, name), files)
    return sorted(kept, key=lambda item: (item.place.file, item.place.line, item.place.column, item.code))


def severity_of(finding: Finding) -> str:
    """Say how much a finding matters: error, warning or note."""
    return RULES[finding.code].severity


def _lint_repository(
    tree: WorkingTree, linted: Mapping[str, LintedFlow], tracked: Sequence[str] | None
) -> Iterator[Finding]:
    folders = sorted({in_project(tree, posixpath.dirname(path)) for path in linted})
    yield from check_caches(tree, tracked, folders)
    if tracked is not None:
        own = (flow.closure.files.values() for flow in linted.values() if flow.closure)
        yield from check_line_endings(tree, (source.path for sources in own for source in sources))


def _by_path(linted: Mapping[str, LintedFlow]) -> dict[str, LintedFlow]:
    """Index flows by what an experiment may call them: the definition, or its folder when there is one in it."""
    by_folder: dict[str, list[str]] = {}
    for path in linted:
        by_folder.setdefault(posixpath.dirname(path) or ".", []).append(path)
    single = {folder: linted[paths[0]] for folder, paths in by_folder.items() if len(paths) == 1}
    return {**linted, **single}


def _files(linted: Mapping[str, LintedFlow]) -> Iterator[str]:
    """List the files of the flows that may hold a suppression."""
    for path, flow in linted.items():
        yield path
        for name in flow.closure.files if flow.closure else ():
            if name.endswith(_SUPPRESSIBLE) and not name.startswith(".llmops/"):
                yield posixpath.normpath(posixpath.join(posixpath.dirname(path), name))


def _wanted(root: Path, folder: Path, paths: Sequence[str]) -> list[str]:
    wanted: list[str] = []
    problems: list[Problem] = []
    for path in paths:
        if not (folder / path).exists():
            problems.append(Problem(what="no such file or folder", where=path))
            continue
        wanted.append(relative_to(root, str((folder / path).absolute())))
    if problems:
        raise UsageError(*problems)
    return wanted


def _is_wanted(file: str, wanted: Sequence[str]) -> bool:
    return not wanted or any(path == "." or is_within(file, path) for path in wanted)


def _read(root: Path, name: str) -> str | None:
    path = root / name
    try:
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
    except OSError:
        return None


def _show(context: Context, findings: Sequence[Finding]) -> None:
    for finding in findings:
        severity = severity_of(finding)
        text = f"{finding.place}: {finding.code} {severity}: {finding.message}"
        context.write(defuse_log_commands(text))
        context.write(defuse_log_commands(f"  {finding.fix or RULES[finding.code].fix}"))
    host = detect(context.env)
    if host is not NONE:
        for annotation in worst_first(map(_annotation, findings)):
            context.command(host.annotate(annotation))
    context.write(_summary(findings))


def _annotation(finding: Finding) -> Annotation:
    rule = RULES[finding.code]
    return Annotation(
        level=rule.severity,
        file=finding.place.file,
        line=finding.place.line,
        column=finding.place.column,
        code=finding.code,
        title=f"{finding.code} {rule.title}",
        message=f"{finding.message}. {finding.fix or rule.fix}",
    )


def _summary(findings: Sequence[Finding]) -> str:
    if not findings:
        return "Nothing to report."
    counts = {name: sum(severity_of(finding) == name for finding in findings) for name in _ORDER}
    parts = [f"{count} {name}{'s' if count > 1 else ''}" for name, count in counts.items() if count]
    code = findings[0].code
    return f"{', '.join(parts)}. `llmops explain {code}` says more of {code}."


def _to_json(finding: Finding) -> dict[str, Any]:
    rule = RULES[finding.code]
    return {
        "code": finding.code,
        "severity": rule.severity,
        "file": finding.place.file,
        "line": finding.place.line,
        "column": finding.place.column,
        "title": rule.title,
        "message": finding.message,
        "fix": finding.fix or rule.fix,
    }
