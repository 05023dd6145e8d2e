"""Our engine and promptflow's own batch run agree on every flow of the corpus, and a lost feature would be seen."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from llmops.commands.run_file import KEYS
from tests.conformance.corpus import read_corpus
from tests.conformance.echo import serve_echo
from tests.conformance.engine import make_project, run_ours
from tests.conformance.theirs import run_theirs
from tests.environments import Workshop

# One group: each engine runs once, not once in each of the parallel workers.
pytestmark = [pytest.mark.slow, pytest.mark.registry, pytest.mark.xdist_group("conformance")]

CASES = read_corpus()
NO_ANSWER = re.compile(r"BrokenSwitchError|worker process ended|interpreter does not start")
"""What says that a switch does not fit the engine any more, so that the flow says nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serve_echo() as address:
        yield address


@pytest.fixture(scope="module")
def ours(address: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = make_project(tmp_path_factory.mktemp("ours") / "project", list(CASES.values()), address)
    return run_ours(root, list(CASES.values()))


@pytest.fixture(scope="module")
def theirs(address: str, workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("theirs")
    root = make_project(folder / "project", list(CASES.values()), address)
    python = workshop.cached("promptflow", "requirements/promptflow.txt")
    return run_theirs(python, root, list(CASES.values()), address, folder / "promptflow")


@pytest.fixture(scope="module")
def without(address: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What our engine says when each case's feature is switched off."""
    root = make_project(tmp_path_factory.mktemp("without") / "project", list(CASES.values()), address, switched=True)
    return run_ours(root, list(CASES.values()), switched=True)


def said(result: dict[str, Any]) -> dict[str, Any]:
    """What is compared: the outputs of each line, null for a line that failed, and the metrics."""
    return {"error": result["error"]} if "error" in result else {key: result[key] for key in ("lines", "metrics")}


def test_the_corpus_has_at_least_forty_flows() -> None:
    assert len(CASES) >= 40


def test_every_key_of_promptflows_run_schema_is_known_to_run_files(workshop: Workshop) -> None:
    python = workshop.cached("promptflow", "requirements/promptflow.txt")
    script = (
        "from promptflow._sdk.schemas._run import RunSchema\n"
        "print(*(field.data_key or name for name, field in RunSchema._declared_fields.items()))"
    )
    listed = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert set(listed) - set(KEYS.all) == set()
    assert len(listed) > 15


@pytest.mark.parametrize("name", CASES)
def test_both_engines_say_the_same(name: str, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert "error" not in theirs[name]
    assert said(ours[name]) == said(theirs[name])


@pytest.mark.parametrize("name", CASES)
def test_without_its_feature_a_flow_no_longer_agrees(
    name: str, theirs: dict[str, Any], without: dict[str, Any]
) -> None:
    assert not NO_ANSWER.search(without[name].get("error", ""))
    assert said(without[name]) != said(theirs[name])
