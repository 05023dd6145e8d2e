"""What a CI system offers to the commands that run in it: one table per system, and nothing is decided here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

HostName = Literal["github", "azure-pipelines", "none"]
Level = Literal["error", "warning", "note"]

PER_LEVEL = 10
"""Annotations of one level that a step may show. Source: actions/toolkit, docs/problem-matchers.md."""

_RANK: Mapping[Level, int] = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """A remark at a line of a file.

    Attributes:
        file: relative to the repository, with forward slashes; empty when the remark belongs to no file.
        line, column: 1-based; 0 when they are not known.
        title: a few words; message: a sentence.
        code: of the rule that was broken, if it is one.
    """

    level: Level
    title: str
    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    code: str = ""


Env = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Host:
    """How one CI system is spoken to. Functions give the lines that a command prints to standard output, as they are.

    Attributes:
        workspace: variable that names the folder which the system's view of changes is relative to; empty if none.
        is_here: says from the environment whether this process runs in the system.
        open_group, close_group: around lines that people can fold.
        mask: keeps a value out of the log from here on; of a value of several lines, each of them.
        annotate: shows a remark; text in it can be no other command.
        set_output: gives a value to later steps, under a name of letters, digits and underscores.
        add_summary: shows a Markdown file on the page of the run; what exceeds the system's limit is left out.
        run_link: address of the run's page, empty when there is none.
        artifacts_link: that address to the one at which the page lists the files that the run keeps.
    """

    name: HostName
    workspace: str = ""
    is_here: Callable[[Env], bool]
    open_group: Callable[[str], Sequence[str]]
    close_group: Callable[[], Sequence[str]]
    mask: Callable[[str], Sequence[str]]
    annotate: Callable[[Annotation], str]
    set_output: Callable[[Env, str, str], Sequence[str]]
    add_summary: Callable[[Env, Path], Sequence[str]]
    run_link: Callable[[Env], str]
    artifacts_link: Callable[[str], str] = lambda link: link


def worst_first(annotations: Iterable[Annotation], *, per_level: int = PER_LEVEL) -> Sequence[Annotation]:
    """Choose the annotations to show: by level, in the order given, `per_level` of each."""
    kept: dict[Level, list[Annotation]] = {level: [] for level in _RANK}
    for annotation in annotations:
        if len(kept[annotation.level]) < per_level:
            kept[annotation.level].append(annotation)
    return [annotation for level in _RANK for annotation in kept[level]]
