"""Which value holds: defaults, file, environment overlay, variables, flags.

Later layers win. Mappings merge by key, everything else replaces; an empty variable is no variable.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llmops.config.model import Environment, Experiment, Project
from llmops.core.documents import from_json, to_json
from llmops.errors import Problem, UsageError, near_match


@dataclass(frozen=True, kw_only=True)
class Options:
    """What flags or variables say of an experiment; None: nothing."""

    dataset: str | None = None
    environment: str | None = None
    variants: Mapping[str, str] | None = None
    concurrency: int | None = None
    repeat: int | None = None
    line_timeout_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Selection:
    """One experiment as it is to run, with the environment that it runs in.

    Attributes:
        experiment: all layers applied; `dataset` and `environment` are always set.
    """

    experiment: Experiment
    environment: Environment


_PAIR = re.compile(r"(?P<node>[^=\s${}]+)=(?P<variant>[^=\s${}]+)")
_REFERENCE = re.compile(r"\$\{(?P<node>[^.\s${}]+)\.(?P<variant>[^.\s${}]+)\}")


def parse_variants(text: str, *, where: str = "--variants") -> dict[str, str]:
    """Read `node=variant_1,other=variant_0`, or prompt flow's `${node.variant_1}`, or both mixed.

    Raises:
        UsageError: a part has neither form, or a node is named twice.
    """
    variants: dict[str, str] = {}
    problems = []
    for part in (part.strip() for part in text.split(",")):
        match = _PAIR.fullmatch(part) or _REFERENCE.fullmatch(part)
        if match is None:
            expected = "node=variant or ${node.variant}, separated by commas"
            problems.append(Problem(what="not a variant", where=where, found=f"'{part}'", expected=expected))
        elif variants.setdefault(match["node"], match["variant"]) != match["variant"]:
            found = f"'{variants[match['node']]}' and '{match['variant']}'"
            problems.append(Problem(what=f"two variants of node '{match['node']}'", where=where, found=found))
    if problems:
        raise UsageError(*problems)
    return variants


def _parse_text(text: str, *, where: str) -> str:  # noqa: ARG001 one signature for all parsers
    return text.strip()


def _parse_count(most: int | None) -> Callable[..., int]:
    def parse(text: str, *, where: str) -> int:
        expected = "a whole number of at least 1" if most is None else f"a whole number from 1 to {most}"
        # isdecimal() alone also takes other scripts' digits.
        count = int(text) if text.strip().isascii() and text.strip().isdecimal() and len(text) < 10 else 0
        if count < 1 or (most is not None and count > most):
            raise UsageError.of("not a number that fits", where=where, found=f"'{text}'", expected=expected)
        return count

    return parse


def _parse_seconds(text: str, *, where: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise UsageError.of("not a number that fits", where=where, found=f"'{text}'", expected="seconds, more than 0")
    return seconds


PARSERS: Mapping[str, Callable[..., Any]] = {
    "dataset": _parse_text,
    "environment": _parse_text,
    "variants": parse_variants,
    "concurrency": _parse_count(1024),
    "repeat": _parse_count(None),
    "line_timeout_s": _parse_seconds,
}
"""Option to its parser, `parse(text, *, where)`: one for flag and variable."""


def variable_of(option: str) -> str:
    """Return the environment variable of an option, for instance `LLMOPS_LINE_TIMEOUT_S`."""
    return f"LLMOPS_{option.upper()}"


def read_options(texts: Mapping[str, str | None], *, where: Callable[[str], str]) -> Options:
    """Parse options that are given as text.

    Args:
        texts: option to its text; None or empty: not given.
        where: option to what messages call it, for instance `--concurrency`.

    Raises:
        UsageError: the problems of all of them.
    """
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for option, parse in PARSERS.items():
        text = texts.get(option)
        if not text or not text.strip():
            continue
        try:
            values[option] = parse(text, where=where(option))
        except UsageError as error:
            problems.extend(error.problems)
    if problems:
        raise UsageError(*problems)
    return Options(**values)


def read_variables(env: Mapping[str, str]) -> Options:
    """Read the `LLMOPS_` variables.

    Raises:
        UsageError: the problems of all of them.
    """
    return read_options({option: env.get(variable_of(option)) for option in PARSERS}, where=variable_of)


def merge(below: Any, above: Any) -> Any:
    """Lay one value over another: mappings merge by key, everything else replaces."""
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)):
        return above
    merged = {key: merge(value, above[key]) if key in above else value for key, value in below.items()}
    return {**merged, **{key: value for key, value in above.items() if key not in below}}


def layer(project: Project, name: str, *, env: Mapping[str, str], flags: Options | None = None) -> Selection:
    """Apply all layers to one experiment: defaults < file < environment overlay < variables < flags.

    The environment itself is chosen first, by the same order, since its overlay is one of the layers.

    Args:
        name: an experiment of the project.
        env: environment variables.
        flags: what the command line says.

    Raises:
        UsageError: a variable is malformed; the environment or the data set does not exist.
    """
    variables, flags = read_variables(env), flags or Options()
    experiment = project.experiments[name]
    chosen = flags.environment or variables.environment or experiment.environment
    environment = _environment(project, chosen, _origin("environment", flags, variables, f"experiment '{name}'"))
    body = merge(to_json(experiment), environment.overrides.get(name, {}))
    for options in (variables, flags):
        body = merge(body, {key: value for key, value in dataclasses.asdict(options).items() if value is not None})
    body = {**body, "environment": chosen, "dataset": body["dataset"] or next(iter(body["datasets"]))}
    if body["dataset"] not in body["datasets"]:
        where = _origin("dataset", flags, variables, f"experiment '{name}'")
        raise _unknown("data set", body["dataset"], body["datasets"], where)
    return Selection(experiment=from_json(Experiment, body), environment=environment)


def _environment(project: Project, name: str, where: str) -> Environment:
    if name not in project.environments:
        raise _unknown("environment", name, project.environments, where)
    return project.environments[name]


def _origin(option: str, flags: Options, variables: Options, otherwise: str) -> str:
    if getattr(flags, option) is not None:
        return f"--{option.replace('_', '-')}"
    return variable_of(option) if getattr(variables, option) is not None else otherwise


def _unknown(kind: str, name: str, known: Mapping[str, Any], where: str) -> Exception:
    expected = ", ".join(f"'{item}'" for item in known) or f"there is no {kind}"
    return UsageError.of(f"no {kind} '{name}'", where=where, expected=expected, fix=near_match(name, known))
