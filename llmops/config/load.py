"""Read a project's configuration: all files, all problems at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops.config.document import Document, Report, Steps, dotted, read_document
from llmops.config.layers import merge
from llmops.config.model import NAME, Environment, Experiment, Project
from llmops.config.rules import check_environment, check_experiment
from llmops.config.schema import schema_of
from llmops.config.validate import validate
from llmops.core.documents import from_json
from llmops.errors import Problem, UsageError, near_match

EXPERIMENTS = "config/experiments"
ENVIRONMENTS = "config/environments"
STATE = ".llmops"


@dataclass(frozen=True, kw_only=True)
class _File:
    """One configuration file.

    Attributes:
        name: of the experiment or environment: the key `name`, or the file's stem.
        values: what the schema allows of it; None when the file is no mapping at all.
    """

    name: str
    document: Document
    values: dict[str, Any] | None


def find_root(start: Path) -> Path:
    """Return the nearest folder, from `start` upwards, that holds `config/experiments/`.

    Raises:
        UsageError: there is none.
    """
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / EXPERIMENTS).is_dir():
            return folder
    raise UsageError.of(
        "no llmops project",
        where=str(start),
        expected=f"a folder '{EXPERIMENTS}' here or in a folder above",
        fix="Run the command inside of a project, or create that folder with one file per experiment.",
    )


def load_project(root: Path) -> Project:
    """Read and judge every experiment and environment of a project.

    Args:
        root: the folder that `find_root` found.

    Raises:
        UsageError: every problem of every file, in the order of files and lines.
    """
    experiments = _read_files(root, EXPERIMENTS, "experiment")
    environments = _read_files(root, ENVIRONMENTS, "environment")
    if not experiments:
        expected = "one YAML file per experiment"
        raise UsageError.of("no experiments", where=str(root / EXPERIMENTS), expected=expected)
    _check_names([*experiments, *environments])
    _check_values(root, experiments, environments)
    problems = [problem for file in (*experiments, *environments) for problem in file.document.sorted_problems()]
    if problems:
        raise UsageError(*problems)
    return Project(
        root=root.resolve(),
        state=root.resolve() / STATE,
        experiments=_build(Experiment, experiments),
        environments=_build(Environment, environments),
    )


def pick_environment(project: Project, name: str) -> Environment:
    """Return one environment.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in project.environments:
        expected = ", ".join(map(repr, project.environments)) or "a file in config/environments/"
        fix = near_match(name, project.environments)
        raise UsageError.of(f"no environment '{name}'", where="--environment", expected=expected, fix=fix)
    return project.environments[name]


def pick_experiments(project: Project, names: Sequence[str]) -> Sequence[Experiment]:
    """Return the named experiments in the order asked, each once; all of them when none is named.

    Raises:
        UsageError: one problem for each name that no experiment has.
    """
    known = project.experiments
    expected = ", ".join(f"'{name}'" for name in known)
    problems = [
        Problem(what=f"no experiment '{name}'", expected=expected, fix=near_match(name, known))
        for name in dict.fromkeys(names)
        if name not in known
    ]
    if problems:
        raise UsageError(*problems)
    return [known[name] for name in dict.fromkeys(names or known)]


def locate(project: Project, experiment: str, path: Steps, *, environment: str | None = None) -> str:
    """Return `file:line: dotted.path` of a setting, for problems that are found after loading.

    The files are read again, since this is for messages only.

    Args:
        environment: when given, its override of the setting is pointed at where there is one.
    """
    override = ("overrides", experiment)
    for file in _read_files(project.root, ENVIRONMENTS, "environment"):
        if file.name == environment and path and (*override, *path) in file.document.lines:
            return file.document.place((*override, *path))
    for file in _read_files(project.root, EXPERIMENTS, "experiment"):
        if file.name == experiment:
            return file.document.place(path)
    return dotted(path)


def _read_files(root: Path, folder: str, kind: str) -> Sequence[_File]:
    return [_read_file(path, f"{folder}/{path.name}", kind) for path in sorted(_yaml_files(root / folder))]


def _yaml_files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (
            path for path in folder.iterdir() if path.suffix in (".yaml", ".yml") and not path.name.startswith(".")
        )


def _read_file(path: Path, label: str, kind: str) -> _File:
    document = read_document(path, label)
    if document.value is None and document.problems:
        return _File(name=path.stem, document=document, values=None)
    values = validate(document.value, schema_of(kind), (), document.report)
    return _File(name=(values or {}).get("name") or path.stem, document=document, values=values)


def _check_names(files: Sequence[_File]) -> None:
    """Report names that two files share, and file names that are no names."""
    first: dict[tuple[str, str], _File] = {}
    for file in files:
        folder = file.document.label.rpartition("/")[0]
        earlier = first.setdefault((folder, file.name), file)
        if earlier is not file:
            found = f"also in {earlier.document.place(('name',) if 'name' in (earlier.values or {}) else ())}"
            file.document.report(("name",), f"the name '{file.name}' is taken", found=found)
        if not re.fullmatch(NAME, file.name):
            fix = "Rename the file, or add the key 'name'."
            file.document.report(
                ("name",), "not a valid name", found=f"'{file.name}'", expected=f"a name that matches {NAME}", fix=fix
            )


def _check_values(root: Path, experiments: Sequence[_File], environments: Sequence[_File]) -> None:
    by_name = {file.name: file for file in experiments}
    known = [file.name for file in environments]
    for file in experiments:
        if file.values is not None:
            check_experiment(file.values, root, known, file.document.report)
    sound = {name: file for name, file in by_name.items() if not file.document.problems}
    for file in environments:
        if file.values is None:
            continue
        check_environment(file.values, by_name, root, file.document.report)
        for name, override in file.values.get("overrides", {}).items():
            if name in sound:
                _check_override(root, sound[name], override, file.document, known)


def _check_override(
    root: Path, experiment: _File, override: Mapping[str, Any], document: Document, environments: Sequence[str]
) -> None:
    """Judge a sound experiment as an environment changes it; the problems are the environment's."""
    report = _report_below(document, ("overrides", experiment.name))
    merged = validate(merge(experiment.values, override), schema_of("experiment"), (), report)
    check_experiment(merged, root, environments, report)


def _report_below(document: Document, prefix: Steps) -> Report:
    def report(path: Steps, what: str, *, found: str = "", expected: str = "", fix: str = "") -> None:
        document.report((*prefix, *path), what, found=found, expected=expected, fix=fix)

    return report


def _build(cls: Any, files: Sequence[_File]) -> dict[str, Any]:
    built = {file.name: from_json(cls, {**(file.values or {}), "name": file.name}) for file in files}
    return dict(sorted(built.items()))
