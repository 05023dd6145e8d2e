"""`llmops affected`: which experiments a change touches, why, and what of their flows changed."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops.commands.context import Context
from llmops.commands.host_report import set_outputs
from llmops.config.document import parse_document
from llmops.config.load import ENVIRONMENTS, EXPERIMENTS, find_root, load_project
from llmops.config.model import Experiment, Project
from llmops.core.matrix import MatrixSystem, build_matrix
from llmops.errors import ExitCode, UsageError
from llmops.flows.callables import is_callable
from llmops.flows.changes import Change, FlowState, compare, read_state
from llmops.flows.closure import Closure, find_closure
from llmops.flows.commit import CommitTree
from llmops.flows.folder import read_flow_in
from llmops.flows.git import ChangedPath, changed_paths, default_baseline_ref, merge_base
from llmops.flows.ignore import IGNORE_FILES
from llmops.flows.tree import FileTree, WorkingTree, in_project, is_within, kind_behind, read
from llmops.reports.plain_text import defuse_log_commands

_NO_COMMIT = re.compile(r"0{40}|0{64}")
_LOCKS = re.compile(
    r"(?:requirements|constraints)[^/]*\.(?:txt|in)|requirements/[^/]+\.txt|[^/]+\.lock|pylock[^/]*\.toml"
)
_MOST_REASONS_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Affected:
    """One experiment that a change touches.

    Attributes:
        reasons: at least one, each a clause such as `flow flows/qa: answer.py changed`.
        changes: what of its flow and its evaluators changed: path of the flow to changes.
    """

    experiment: str
    reasons: tuple[str, ...]
    changes: Mapping[str, Sequence[Change]]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a change touches.

    Attributes:
        commit: what the working tree was compared with; None when there is no earlier commit.
        removed: experiments that were there and are gone.
    """

    commit: str | None
    affected: Sequence[Affected]
    unaffected: Sequence[str]
    removed: Sequence[str] = ()


def affected(
    *,
    context: Context,
    base: str | None = None,
    matrix: MatrixSystem | None = None,
    json_output: bool = False,
) -> int:
    """Say which experiments the difference between a ref and the working tree touches.

    Args:
        base: a branch, tag or commit: its merge base with HEAD is compared; all zeros, which is what GitHub says of a
            first push, stands for no commit; None for the target branch of the pull request, else `origin/HEAD`.
        matrix: print one line of JSON, the matrix of this CI system, and nothing else. In a job it also becomes the
            step output `matrix`, beside `count` and `experiments`, the names with a space between them.

    Raises:
        UsageError: the ref does not exist, a shallow clone does not hold the merge base, or the configuration is wrong.
    """
    root = find_root(context.folder)
    project = load_project(root)
    chosen = base or default_baseline_ref(root, context.env).ref
    if chosen is None:
        raise UsageError.of("nothing to compare with", where="affected", fix="Name a branch or commit: --base main")
    commit = None if _NO_COMMIT.fullmatch(chosen) else merge_base(root, chosen)
    answer = find_affected(project, commit, summarise=matrix is None)
    names = [item.experiment for item in answer.affected]
    if matrix is not None:
        written = json.dumps(build_matrix(matrix, names))
        context.write(written)
        set_outputs(context, {"matrix": written, "count": str(len(names)), "experiments": " ".join(names)})
    elif json_output:
        context.write(json.dumps(_to_json(answer), indent=2, ensure_ascii=False))
    else:
        _show(context, answer)
    return ExitCode.PASS


def find_affected(project: Project, commit: str | None, *, summarise: bool = True) -> Answer:
    """Compare the working tree with a commit.

    Args:
        commit: a full commit id; None when there is no earlier commit, so that everything is new.
        summarise: also say what of each flow changed.
    """
    if commit is None:
        every = [
            Affected(experiment=name, reasons=("there is no earlier commit",), changes={})
            for name in project.experiments
        ]
        return Answer(commit=None, affected=every, unaffected=())
    with ExitStack() as resources:
        old = resources.enter_context(CommitTree(project.root, commit))
        finder = _Finder(project, old, changed_paths(project.root, commit), summarise=summarise)
        found = [item for name in project.experiments if (item := finder.judge(name))]
        touched = {item.experiment for item in found}
        return Answer(
            commit=commit,
            affected=found,
            unaffected=[name for name in project.experiments if name not in touched],
            removed=finder.removed(),
        )


class _Finder:
    """Judges the experiments of one project; flows that several share are read once."""

    def __init__(self, project: Project, old: CommitTree, changed: Sequence[ChangedPath], *, summarise: bool) -> None:
        self.project = project
        self.summarise = summarise
        self.new = WorkingTree(project.root)
        self.old = old
        self.changed = {item.path: item for item in changed}
        self.gone = {item.before for item in changed if item.is_gone or item.before != item.path}
        self.rules_changed = any(posixpath.basename(path) in IGNORE_FILES for path in {*self.changed, *self.gone})
        self.files = {self._name_in(self.new, path): path for path in self._configuration_files(self.new)}
        self._flows: dict[str, list[str]] = {}
        self._changes: dict[str, list[Change]] = {}

    def judge(self, name: str) -> Affected | None:
        """Find the reasons why an experiment is touched; None when there is none."""
        experiment = self.project.experiments[name]
        reasons = [*self._judge_configuration(experiment), *self._judge_data(experiment), *self._judge_locks()]
        flows = {experiment.flow: f"flow {experiment.flow}"}
        flows |= {
            entry.flow: f"evaluator {key} ({entry.flow})" for key, entry in experiment.evaluators.items() if entry.flow
        }
        changes: dict[str, Sequence[Change]] = {}
        for path, title in flows.items():
            found = self._judge_flow(path)
            reasons += [f"{title}: {reason}" for reason in found]
            if found and self.summarise:
                changes[path] = self._compare(path)
        return Affected(experiment=name, reasons=tuple(reasons), changes=changes) if reasons else None

    def removed(self) -> list[str]:
        """List experiments of the commit that the project does not have any more."""
        old = {self._name_in(self.old, path) for path in self._configuration_files(self.old)}
        return sorted(name for name in old if name not in self.project.experiments)

    def _configuration_files(self, tree: FileTree) -> Iterator[str]:
        for name in tree.list(in_project(tree, EXPERIMENTS)):
            if name.endswith((".yaml", ".yml")) and not name.startswith("."):
                yield f"{EXPERIMENTS}/{name}"

    def _name_in(self, tree: FileTree, path: str) -> str:
        values = self._values(tree, path) or {}
        return str(values.get("name") or Path(path).stem)

    def _values(self, tree: FileTree, path: str) -> Mapping[str, Any] | None:
        place = in_project(tree, path)
        if tree.kind(place) != "file":
            return None
        value = parse_document(read(tree, place).decode("utf-8", "replace"), path).value
        return value if isinstance(value, dict) else {}

    def _judge_configuration(self, experiment: Experiment) -> Iterator[str]:
        file = self.files[experiment.name]
        if self._is_changed(in_project(self.new, file)):
            old = self._values(self.old, file)
            if old is None:
                before = self.changed.get(in_project(self.new, file))
                moved = before is not None and before.before != before.path
                yield f"configuration: {file} is {'renamed' if moved else 'new'}"
            else:
                keys = _changed_keys(old, self._values(self.new, file) or {})
                yield from ([f"configuration: {file} changed ({', '.join(keys)})"] if keys else [])
        for path in (f"{ENVIRONMENTS}/{experiment.environment}{suffix}" for suffix in (".yaml", ".yml")):
            if self._is_changed(in_project(self.new, path)):
                yield from self._judge_environment(experiment, path)

    def _judge_environment(self, experiment: Experiment, path: str) -> Iterator[str]:
        sides = [dict(self._values(tree, path) or {}) for tree in (self.old, self.new)]
        for side in sides:
            overrides = side.pop("overrides", None)
            side[f"overrides.{experiment.name}"] = (
                overrides.get(experiment.name) if isinstance(overrides, dict) else None
            )
        keys = _changed_keys(sides[0], sides[1])
        if keys:
            yield f"environment: {path} changed ({', '.join(keys)})"

    def _judge_data(self, experiment: Experiment) -> Iterator[str]:
        for name, dataset in experiment.datasets.items():
            if self._is_changed(in_project(self.new, dataset.path)):
                yield f"data: {dataset.path} changed (data set {name})"

    def _judge_locks(self) -> Iterator[str]:
        prefix = f"{self.new.prefix}/" if self.new.prefix else ""
        for path in sorted({*self.changed, *self.gone}):
            inside = path.removeprefix(prefix)
            if path.startswith(prefix) and _LOCKS.fullmatch(inside):
                yield f"packages: {inside} changed"

    def _judge_flow(self, path: str) -> list[str]:
        if path not in self._flows:
            self._flows[path] = self._find_reasons(path)
        return self._flows[path]

    def _find_reasons(self, path: str) -> list[str]:
        try:
            closure = find_closure(self.new, read_flow_in(self.new, path))
        except UsageError as error:
            return [f"it cannot be read: {error.problems[0].what}"]
        names = [name for name, source in closure.files.items() if self._touches(source.path, source.place)]
        reasons = [f"{name.removeprefix('.llmops/imported/')} {self._word(closure, name)}" for name in names]
        if self.gone or self.rules_changed:
            reasons += self._find_lost(path, closure)
        return [*reasons[:_MOST_REASONS_SHOWN], *_more(reasons)]

    def _word(self, closure: Closure, name: str) -> str:
        item = self.changed.get(closure.files[name].path)
        if item is not None and item.before != item.path:
            return f"renamed from {posixpath.basename(item.before)}"
        return "changed"

    def _find_lost(self, path: str, closure: Closure) -> list[str]:
        """Find files that were part of the flow and are not any more."""
        try:
            old = find_closure(self.old, read_flow_in(self.old, path))
        except UsageError:
            return []
        places = {source.place for source in closure.files.values()}
        lost = [name for name, source in old.files.items() if source.place not in places]
        return [f"{name.removeprefix('.llmops/imported/')} is not part of it any more" for name in lost]

    def _compare(self, path: str) -> list[Change]:
        if path not in self._changes:
            self._changes[path] = compare(self._state_before(path), read_state(self.new, path))
        return self._changes[path]

    def _state_before(self, path: str) -> FlowState | None:
        """Read the flow as it was, under the name that it had then."""
        if is_callable(path) or kind_behind(self.old, in_project(self.old, path)) is not None:
            return read_state(self.old, path)
        place = in_project(self.new, path)
        moved = next(
            (item for item in self.changed.values() if is_within(item.path, place) and item.before != item.path), None
        )
        if moved is None or not moved.before.endswith(moved.path[len(place) :]):
            return None
        before = moved.before.removesuffix(moved.path[len(place) :])
        return read_state(self.old, posixpath.relpath(before, self.old.prefix or "."))

    def _touches(self, *places: str) -> bool:
        return any(self._is_changed(place) for place in places)

    def _is_changed(self, place: str) -> bool:
        """Say whether a path, or a submodule that holds it, differs."""
        parts = place.split("/")
        paths = ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
        return any(path in self.changed or path in self.gone for path in paths)


def _changed_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]


def _more(reasons: Sequence[str]) -> list[str]:
    return [f"and {len(reasons) - _MOST_REASONS_SHOWN} more files"] if len(reasons) > _MOST_REASONS_SHOWN else []


def _to_json(answer: Answer) -> dict[str, Any]:
    return {
        "commit": answer.commit,
        "affected": [
            {
                "experiment": item.experiment,
                "reasons": list(item.reasons),
                "changes": [
                    {"flow": path, "text": str(change), **vars(change)}
                    for path, changes in item.changes.items()
                    for change in changes
                ],
            }
            for item in answer.affected
        ],
        "unaffected": list(answer.unaffected),
        "removed": list(answer.removed),
    }


def _show(context: Context, answer: Answer) -> None:
    def write(text: str) -> None:
        context.write(defuse_log_commands(text))

    shown: set[str] = set()
    for item in answer.affected:
        write(item.experiment)
        for reason in item.reasons:
            write(f"  {reason}")
        for path, changes in item.changes.items():
            if path in shown:
                continue
            shown.add(path)
            for change in changes:
                write(f"    {change}")
                if change.diff and change.aspect == "prompt":
                    write("\n".join(f"      {line}" for line in change.diff.splitlines()))
    for name in answer.removed:
        write(f"{name} was removed")
    total = len(answer.affected) + len(answer.unaffected)
    write(f"{len(answer.affected)} of {total} experiments affected.")
