"""`llmops init`: from a repository with flows to a first check."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from llmops.commands.context import Context
from llmops.commands.init_callers import callers
from llmops.commands.init_checklist import checklist_text
from llmops.commands.init_plan import (
    IGNORED,
    CiSystem,
    FoundFlow,
    Wishes,
    draft_experiment,
    environment_text,
    evaluator_name,
    experiment_text,
    find_data,
    find_in_repository,
    known_metrics,
    sample_row,
)
from llmops.commands.lint import find_lint_root, lint_project, severity_of
from llmops.commands.setup import setup
from llmops.config.document import read_document
from llmops.config.load import ENVIRONMENTS, EXPERIMENTS
from llmops.errors import ExitCode, Problem, UsageError
from llmops.flows.lint.repository import fixes_line_endings
from llmops.flows.model import needs_llm_tool
from llmops.flows.tree import WorkingTree

CHECKLIST = "config/cloud-checklist.md"

Ask = Callable[[str, Sequence[str], str], str]
"""Puts a question with its possible answers (none: free text) and the default; returns the answer."""

Done = Literal["written", "replaced", "added to", "unchanged", "kept"]


class File(NamedTuple):
    """One file to be: `lines` are appended where they are missing, `text` is the whole file."""

    path: str
    text: str = ""
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What will be written, and what could not be planned."""

    files: Sequence[File]
    notes: Sequence[str]
    problems: Sequence[Problem]
    needs_setup: bool


def init(*, context: Context, wishes: Wishes, force: bool = False, install: bool = True, ask: Ask | None = None) -> int:
    """Write what a first check needs; what is there already stays unless `force`.

    Args:
        wishes: what the flags say.
        force: replace files that differ.
        install: install the LLM tool's package when a flow needs it, as `llmops setup` does.
        ask: asks the user for what the flags leave open; None takes the defaults.

    Returns:
        0, or 2 when a flow has no data set that fits it: everything else is written then.

    Raises:
        UsageError: there is no flow.
    """
    root = find_lint_root(context.folder)
    wishes = _ask_for(wishes, ask) if ask else wishes
    plan = make_plan(root, wishes, context.env)
    for file in plan.files:
        context.write(f"{_apply(root, file, force=force)}: {file.path}")
    for note in plan.notes:
        context.write(f"note: {note}")
    if plan.needs_setup and install:
        setup(write=context.write, env=context.env)
    if plan.problems:
        raise UsageError(*plan.problems)
    found = [finding for finding in lint_project(root) if severity_of(finding) == "error"]
    for finding in found:
        context.write(f"{finding.place}: {finding.code}: {finding.message}")
    context.write("Next: llmops lint" if found else "Next: llmops check")
    return ExitCode.PASS


def make_plan(root: Path, wishes: Wishes, env: Mapping[str, str]) -> Plan:
    """Decide what is written into a repository.

    Raises:
        UsageError: there is no flow in it.
    """
    flows, notes = find_in_repository(root)
    targets = [item for item in flows if not item.is_evaluator]
    if not targets:
        fix = "Add a folder with flow.dag.yaml, flow.flex.yaml or a .prompty file, or: llmops import FLOW.zip"
        raise UsageError.of("no flow in this repository", where=str(root), fix=" ".join([*notes, fix]))
    evaluators = {item.path: item for item in flows if item.is_evaluator}
    taken = _flows_with_experiment(root)
    data = find_data(root)
    files: list[File] = []
    problems: list[Problem] = []
    for item in targets:
        if item.path in taken:
            notes.append(f"{item.path} has an experiment already: {taken[item.path]}")
            continue
        draft = draft_experiment(item, data, list(evaluators.values()))
        if draft is None:
            problems.append(_no_data(item))
            continue
        name = _free_name(item, targets)
        files.append(File(f"{EXPERIMENTS}/{name}.yaml", experiment_text(draft, evaluators, wishes.thresholds)))
        notes += _describe(name, item, draft.evaluators, evaluators, wishes.thresholds)
    files += _environment_files(root, wishes, flows, env)
    files.append(File(".gitignore", lines=IGNORED))
    own = [source.path for item in flows for source in item.closure.files.values()]
    if not fixes_line_endings(WorkingTree(root), own):
        files.append(File(".gitattributes", lines=("* text=auto eol=lf",)))
    if wishes.ci != "none":
        files.append(File(CHECKLIST, checklist_text(wishes.ci)))
        pipelines, note = _pipelines(root, wishes, [file.path for file in files])
        files += pipelines
        notes += note
    return Plan(
        files=files, notes=notes, problems=problems, needs_setup=any(needs_llm_tool(item.flow) for item in flows)
    )


def _ask_for(wishes: Wishes, ask: Ask) -> Wishes:
    ci = ask("CI system", get_args(CiSystem), wishes.ci)
    backend = ask("Backend for deployments", ("local", "azure"), wishes.backend)
    text = ask("Thresholds as metric=min, separated by commas (empty: none yet)", (), "")
    thresholds = {**wishes.thresholds, **parse_thresholds([part for part in text.split(",") if part.strip()])}
    return replace(wishes, ci=ci, backend=backend, thresholds=thresholds)  # type: ignore[arg-type]  # one of the choices


def parse_thresholds(texts: Sequence[str]) -> dict[str, float]:
    """Read `metric=min`, each of them.

    Raises:
        UsageError: one of them has another form.
    """
    thresholds: dict[str, float] = {}
    for text in texts:
        name, _, value = text.strip().rpartition("=")
        try:
            thresholds[name] = float(value)
        except ValueError:
            name = ""
        if not name:
            raise UsageError.of("not a threshold", where="--threshold", found=f"'{text}'", expected="metric=min")
    return thresholds


def _environment_files(root: Path, wishes: Wishes, flows: Sequence[FoundFlow], env: Mapping[str, str]) -> list[File]:
    names = {"local": "local"} if wishes.backend == "local" else {"local": "local", "dev": "azure", "prod": "azure"}
    present = {path.stem for path in (root / ENVIRONMENTS).glob("*.y*ml")}
    return [
        File(f"{ENVIRONMENTS}/{name}.yaml", environment_text(backend, flows, env))
        for name, backend in names.items()
        if name not in present or (root / ENVIRONMENTS / f"{name}.yaml").is_file()
    ]


def _pipelines(root: Path, wishes: Wishes, planned: Sequence[str]) -> tuple[list[File], list[str]]:
    """Plan the short pipelines, and say what is left to do."""
    if not wishes.templates:
        fix = "--templates REPOSITORY@COMMIT, the place where you keep llmops"
        return [], [f"no pipelines yet: name where the templates are, {fix}"]
    there = [*planned, *(path.relative_to(root).as_posix() for path in (root / "config").rglob("*.y*ml"))]
    experiments = sorted({Path(path).stem for path in there if path.startswith(f"{EXPERIMENTS}/")})
    environments = {Path(path).stem for path in there if path.startswith(f"{ENVIRONMENTS}/")}
    found = callers(wishes.ci, wishes.templates, experiments=experiments, delivers={"dev", "prod"} <= environments)
    return [File(caller.path, caller.text) for caller in found], []


def _flows_with_experiment(root: Path) -> dict[str, str]:
    """Return the flows that experiments of the project name already, with the experiment."""
    folder = root / EXPERIMENTS
    found: dict[str, str] = {}
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")] if folder.is_dir() else []):
        values = read_document(path, path.name).value
        flow = values.get("flow") if isinstance(values, dict) else None
        if isinstance(flow, str):
            found[flow.strip("/").removeprefix("./")] = path.stem
    return found


def _free_name(item: FoundFlow, flows: Sequence[FoundFlow]) -> str:
    same = [other for other in flows if other.name == item.name]
    return item.name if len(same) == 1 else item.path.replace("/", "-")


def _no_data(item: FoundFlow) -> Problem:
    needed = [name for name, entry in item.flow.inputs.items() if entry.required] or list(item.flow.inputs)
    path = f"data/{item.name}.jsonl"
    row = sample_row(item.flow)
    return Problem(
        what="no data file fits this flow",
        where=item.path,
        expected="a .jsonl or .csv file with the columns " + (", ".join(map(repr, needed)) or "that it needs"),
        fix=f"Write rows, one JSON object each, then `llmops init` again:\n  mkdir -p data && echo '{row}' > {path}",
    )


def _describe(
    name: str,
    item: FoundFlow,
    chosen: Mapping[str, Mapping[str, str]],
    evaluators: Mapping[str, FoundFlow],
    thresholds: Mapping[str, float],
) -> list[str]:
    known = known_metrics(chosen, evaluators)
    notes = []
    if not (thresholds if known is None else known & thresholds.keys()):
        notes.append(f"{name}: no quality threshold is set yet; the gate judges failed rows alone (max_failed: 0)")
    notes += [
        f"{name}: the evaluation flow {path} is not used, since not all of its inputs could be mapped"
        for path in evaluators
        if path not in chosen
    ]
    unknown = sorted(thresholds.keys() - known) if known is not None else []
    if unknown and chosen:
        names = ", ".join(evaluator_name(evaluators[path]) for path in chosen)
        notes.append(f"{item.path}: no evaluator ({names}) is known to report {', '.join(unknown)}")
    return notes


def _apply(root: Path, file: File, *, force: bool) -> Done:
    path = root / file.path
    if file.lines:
        return _append(path, file.lines)
    there = path.read_text(encoding="utf-8") if path.is_file() else None
    if there == file.text:
        return "unchanged"
    if there is not None and not force:
        return "kept"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(file.text, encoding="utf-8", newline="\n")
    return "written" if there is None else "replaced"


def _append(path: Path, lines: Sequence[str]) -> Done:
    there = path.read_text(encoding="utf-8") if path.is_file() else None
    known = {line.strip().strip("/") for line in (there or "").splitlines()}
    missing = [line for line in lines if line.strip("/") not in known]
    if not missing:
        return "unchanged"
    start = there if there is None or there.endswith("\n") or not there else there + "\n"
    path.write_text((start or "") + "".join(f"{line}\n" for line in missing), encoding="utf-8", newline="\n")
    return "written" if there is None else "added to"
