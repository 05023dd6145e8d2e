"""Which CI system runs this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from llmops.errors import UsageError, near_match
from llmops.hosts.azure_pipelines import AZURE_PIPELINES
from llmops.hosts.github import GITHUB
from llmops.hosts.host import Annotation, Env, Host


def _annotate(annotation: Annotation) -> str:
    place = f"{annotation.file}:{annotation.line}: " if annotation.file else ""
    return f"{place}{annotation.level}: {annotation.title}: {annotation.message}"


def _nothing(*_: object) -> Sequence[str]:
    return ()


def _show_title(title: str) -> Sequence[str]:
    return (title,)


def _no_summary(_: Env, __: Path) -> Sequence[str]:
    return ()


NONE = Host(
    name="none",
    is_here=lambda _: False,
    open_group=_show_title,
    close_group=_nothing,
    mask=_nothing,
    annotate=_annotate,
    set_output=_nothing,
    add_summary=_no_summary,
    run_link=lambda _: "",
)
"""A person's terminal, or a system that we know nothing of."""

HOSTS: Mapping[str, Host] = {host.name: host for host in (GITHUB, AZURE_PIPELINES, NONE)}


def detect(env: Env, *, asked: str | None = None) -> Host:
    """Find the host.

    Args:
        asked: a name that a user gave; it wins over the environment.

    Raises:
        UsageError: no host has that name.
    """
    if asked is None:
        return next((host for host in HOSTS.values() if host.is_here(env)), NONE)
    if asked not in HOSTS:
        expected = ", ".join(HOSTS)
        fix = near_match(asked, HOSTS)
        raise UsageError.of("unknown host", where="--host", found=repr(asked), expected=expected, fix=fix)
    return HOSTS[asked]
