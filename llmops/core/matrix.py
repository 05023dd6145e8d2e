"""Spread experiments over the jobs of a CI system's matrix."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

MatrixSystem = Literal["github", "azure-pipelines"]

MAX_JOBS = 256
"""Jobs that one matrix may have. Source: usage limits of GitHub Actions; Azure Pipelines takes as many."""


def batch(experiments: Sequence[str], *, most: int = MAX_JOBS) -> list[tuple[str, ...]]:
    """Split experiments into at most `most` batches of nearly equal size, keeping their order."""
    count = min(len(experiments), most)
    sizes = [len(experiments) // count + (number < len(experiments) % count) for number in range(count)]
    starts = [sum(sizes[:number]) for number in range(count)]
    return [tuple(experiments[start : start + size]) for start, size in zip(starts, sizes, strict=True)]


def build_matrix(system: MatrixSystem, experiments: Sequence[str]) -> dict[str, Any]:
    """Build the matrix of a CI system.

    Each job has `experiments`: names with a space between them, as `llmops check` takes them.

    Returns:
        For GitHub Actions `{"include": [{"name", "experiments"}, …]}`; for Azure Pipelines job name to variables. Both
        are empty without experiments: GitHub refuses an empty matrix, so that a job needs a condition.
    """
    return _BUILDERS[system](batch(experiments))


def _github(batches: Sequence[Sequence[str]]) -> dict[str, Any]:
    return {"include": [{"name": _name(names), "experiments": " ".join(names)} for names in batches]}


def _azure(batches: Sequence[Sequence[str]]) -> dict[str, Any]:
    jobs: dict[str, Any] = {}
    for names in batches:
        # Job names are letters, digits and underscores, and start with a letter; two names may become one.
        base = "job_" + re.sub(r"\W", "_", names[0], flags=re.ASCII)
        name, number = base, 1
        while name in jobs:
            number += 1
            name = f"{base}_{number}"
        jobs[name] = {"name": _name(names), "experiments": " ".join(names)}
    return jobs


def _name(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


_BUILDERS: Mapping[str, Callable[[Sequence[Sequence[str]]], dict[str, Any]]] = {
    "github": _github,
    "azure-pipelines": _azure,
}
