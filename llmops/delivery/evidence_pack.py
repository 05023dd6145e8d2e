"""The evidence pack: what a reviewer reads before a version is promoted, as one Markdown page."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from llmops.core.endpoint import Deployment
from llmops.core.metrics import Metric
from llmops.delivery.package import Package
from llmops.errors import Problem
from llmops.records import RowView, VerdictRecord, write_text
from llmops.releases import ModelRecord

_PROMPTS = (".jinja2", ".prompty", ".md", ".txt", ".yaml", ".yml")
_CODE = (".py", ".json", ".jsonl", ".toml", ".cfg", ".ini")
_MAX_DIFF = 400
"""Lines of each diff that are shown."""


class Candidate(NamedTuple):
    """The version that is to be promoted.

    Attributes:
        source: environment in which it serves; deployment: as which.
        serving_since: ISO 8601; empty when nobody wrote it down.
        serving_by: who brought it there, and in which run; empty when nobody wrote it down.
    """

    model: ModelRecord
    package: Package
    source: str
    deployment: Deployment
    serving_since: str
    serving_by: str = ""


def write_pack(
    folder: Path,
    candidate: Candidate,
    production: Package | None,
    *,
    environment: str,
    missing: Sequence[Problem],
    asked_by: str,
) -> Path:
    """Write `evidence.md`.

    Args:
        folder: made if it does not exist.
        candidate: the version.
        production: what serves now where it is to go; None when nothing does.
        environment: where it is to go.
        missing: what that environment asks for and is not there.
        asked_by: who wrote this pack.

    Returns:
        The file.
    """
    path = folder / "evidence.md"
    parts = [
        *_head(candidate, environment, asked_by),
        *_requirements(missing),
        *_changes(candidate.package, production),
        *_metrics(candidate.package, production),
        *_digests(candidate),
    ]
    write_text(path, "\n".join(parts) + "\n")
    return path


def _head(candidate: Candidate, environment: str, asked_by: str) -> Iterator[str]:
    model = candidate.model
    yield f"# Promote {model.name} version {model.version} from {candidate.source} to {environment}"
    yield ""
    since = f" since {candidate.serving_since}" if candidate.serving_since else ""
    by = f", brought there by {candidate.serving_by}" if candidate.serving_by else ""
    yield f"It serves in {candidate.source} as {candidate.deployment.name}{since}{by}. Registered "
    yield f"{model.created_at} by {model.created_by}. This page was written for {asked_by}."
    yield ""


def _requirements(missing: Sequence[Problem]) -> Iterator[str]:
    yield "## What is still missing"
    yield ""
    if not missing:
        yield "Nothing."
    for problem in missing:
        found = f" (found: {problem.found})" if problem.found else ""
        yield f"- {problem.what}{found}. {problem.fix}"
    yield ""


def _changes(new: Package, old: Package | None) -> Iterator[str]:
    yield "## What changes for users"
    yield ""
    if old is None:
        yield "Nothing serves there yet: everything is new."
        yield ""
        return
    mine, theirs = _files(new), _files(old)
    names = sorted(mine.keys() | theirs.keys())
    changed = [name for name in names if _hash(new, mine, name) != _hash(old, theirs, name)]
    if not changed:
        yield "Nothing: the files are the same."
        yield ""
    for name in changed:
        verb = "added" if name not in theirs else "removed" if name not in mine else "changed"
        yield f"- `{name}` {verb}"
    yield ""
    for title, suffixes in (("Prompts", _PROMPTS), ("Code", _CODE)):
        shown = [name for name in changed if name.lower().endswith(suffixes)]
        if shown:
            yield f"### {title}"
            yield ""
            for name in shown:
                yield from _diff(name, _text(old, theirs, name), _text(new, mine, name))


def _diff(name: str, old: str, new: str) -> Iterator[str]:
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), name, name, lineterm=""))
    fence = "`" * max(3, _longest_fence(old + new) + 1)
    yield f"{fence}diff"
    yield from lines[:_MAX_DIFF]
    if len(lines) > _MAX_DIFF:
        yield f"… {len(lines) - _MAX_DIFF} more lines"
    yield fence
    yield ""


def _longest_fence(text: str) -> int:
    longest = run = 0
    for character in text:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    return longest


def _metrics(new: Package, old: Package | None) -> Iterator[str]:
    yield "## Metrics beside production's"
    yield ""
    if new.proof is None:
        yield f"No verdict: {new.manifest.without_verdict}"
        yield ""
        return
    verdict, other = new.proof.verdict, old.proof.verdict if old and old.proof else None
    theirs = _by_name(other) if other else {}
    yield "| metric | this version | production |"
    yield "| --- | --- | --- |"
    for name, metric in _by_name(verdict).items():
        yield f"| {name} | {_value(metric)} | {_value(theirs.get(name))} |"
    yield f"| tokens per row | {_tokens(verdict)} | {_tokens(other)} |"
    yield f"| cost of 1 000 rows, US dollars | {_cost(verdict)} | {_cost(other)} |"
    yield ""
    if other and other.candidate.run.dataset != verdict.candidate.run.dataset:
        yield "Production was judged over other data: the columns cannot be compared number by number."
        yield ""
    yield f"Against its baseline ({verdict.baseline_reason or 'none'}): {verdict.regressed} rows got worse, "
    yield f"{verdict.improved} got better."
    if verdict.stand_in:
        yield ""
        yield "The stand-in model answered, which is no real model: these numbers say nothing of quality."
    yield ""
    yield from _flips(verdict)
    for later in new.later:
        yield f"- also passed: {later.verdict.experiment}, {later.verdict.id}, {later.verdict.created_at}"


def _flips(verdict: VerdictRecord) -> Iterator[str]:
    """List the rows that flipped by their scores alone: what users ask stays out of the pack."""
    if not verdict.flipped:
        return
    yield "| row | against the baseline | this version | baseline |"
    yield "| --- | --- | --- | --- |"
    for row in verdict.flipped:
        yield f"| {row.row} | {row.change} | {_scores(row.candidate)} | {_scores(row.baseline)} |"
    yield ""


def _scores(view: RowView | None) -> str:
    if view is None:
        return "none"
    return ", ".join(f"{name} {value:.4g}" for name, value in view.scores.items()) or view.status


def _digests(candidate: Candidate) -> Iterator[str]:
    manifest = candidate.package.manifest
    dirty = ", with changes that no commit holds" if manifest.flow.dirty else ""
    yield "## Digests"
    yield ""
    yield "| of | is |"
    yield "| --- | --- |"
    yield f"| commit | {manifest.flow.commit or 'none'}{dirty} |"
    yield f"| flow | {manifest.flow.digest} |"
    yield f"| content | {manifest.digest} |"
    yield f"| package | {candidate.model.manifest} |"
    yield f"| deployment in {candidate.source} | {candidate.deployment.digest} |"
    yield f"| data | {manifest.dataset or 'none'} |"
    yield f"| run | {manifest.run or 'none'} |"
    yield f"| verdict | {manifest.verdict or 'none'} |"


def _files(package: Package) -> Mapping[str, str]:
    """Return name in the flow to path in the package."""
    return {file.name: path for path, file in package.manifest.files.items() if file.name is not None}


def _hash(package: Package, files: Mapping[str, str], name: str) -> str | None:
    return package.manifest.files[files[name]].sha256 if name in files else None


def _text(package: Package, files: Mapping[str, str], name: str) -> str:
    return (package.folder / files[name]).read_text(encoding="utf-8", errors="replace") if name in files else ""


def _by_name(verdict: VerdictRecord) -> dict[str, Metric]:
    return {f"{metric.evaluator}.{metric.name}": metric for metric in verdict.candidate.metrics}


def _value(metric: Metric | None) -> str:
    if metric is None or metric.value is None:
        return "none"
    interval = f" ({metric.interval[0]:.3g} to {metric.interval[1]:.3g})" if metric.interval else ""
    return f"{metric.value:.4g}{interval}, n {metric.n}"


def _tokens(verdict: VerdictRecord | None) -> str:
    if verdict is None:
        return "none"
    run = verdict.candidate.run
    total = run.tokens.get("total", 0)
    return f"{total / run.lines:.0f}" if total and run.lines else "not known"


def _cost(verdict: VerdictRecord | None) -> str:
    """Say what a thousand rows cost by the prices that were configured when they ran."""
    if verdict is None:
        return "none"
    run = verdict.candidate.run
    return f"{run.cost_usd / run.lines * 1000:.4g}" if run.cost_usd is not None and run.lines else "not known"
