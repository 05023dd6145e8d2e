"""The history as far as it is at hand, for reports of pull requests."""

from __future__ import annotations

import subprocess
from pathlib import Path

from llmops.config.model import Environment, History
from llmops.history.entry import write_line
from llmops.history.folder import FolderStore
from llmops.history.nearby import NEWEST, Past, find_past
from llmops.history.stores import Surroundings, open_history
from tests.history.branch_test import Remote, git
from tests.reports.histories import build_entry, error_entry


def flow(day: int, environment: str = "prod") -> str:
    return write_line(build_entry(day, id=f"{environment}-{day}", subject="flow", environment=environment))


def find(root: Path, *environments: Environment, environment: str = "prod", dataset: str = "full") -> Past | None:
    known = {one.name: one for one in environments}
    return find_past(root, known, experiment="web-classification", environment=environment, dataset=dataset)


def test_the_main_branchs_evaluations_over_this_data_set_are_found_in_a_folder(tmp_path: Path) -> None:
    others = [write_line(build_entry(3)), write_line(error_entry(4))]
    FolderStore(tmp_path / "kept").append({"web-classification/prod.jsonl": [flow(1), flow(2), *others]})
    prod = Environment(name="prod", history=History(folder="kept"))
    past = find(tmp_path, prod)
    assert past
    assert [entry.id for entry in past.entries] == ["prod-1", "prod-2"]
    assert find(tmp_path, prod, dataset="other") is None


def test_the_same_environment_comes_first_else_the_one_used_last(tmp_path: Path) -> None:
    for name, day in (("dev", 1), ("prod", 2), ("test", 3)):
        FolderStore(tmp_path / ".llmops/history").append({f"web-classification/{name}.jsonl": [flow(day, name)]})
    known = [Environment(name=name) for name in ("dev", "prod", "test")]
    assert find(tmp_path, *known, environment="dev").environment == "dev"  # type: ignore[union-attr]
    assert find(tmp_path, *known, environment="local").environment == "test"  # type: ignore[union-attr]


def test_only_the_newest_are_given(tmp_path: Path) -> None:
    lines = [flow(day) for day in range(NEWEST + 5)]
    FolderStore(tmp_path / ".llmops/history").append({"web-classification/prod.jsonl": lines})
    past = find(tmp_path, Environment(name="prod"))
    assert past
    assert [past.entries[0].id, past.entries[-1].id] == ["prod-5", f"prod-{NEWEST + 4}"]


def test_a_branch_that_was_fetched_is_read_without_its_remote(tmp_path: Path) -> None:
    remote = Remote(tmp_path)
    history = History(store="branch")
    store = open_history(history, Surroundings(root=remote.clone, environment="prod", env={}, sleep=lambda _: None))
    store.append({"web-classification/prod.jsonl": [flow(1)]})
    prod = Environment(name="prod", history=history)
    assert find(remote.clone, prod) is None
    git(remote.clone, "fetch", "-q", "origin")
    subprocess.run(["rm", "-rf", str(remote.bare)], check=True)
    assert find(remote.clone, prod).entries[0].id == "prod-1"  # type: ignore[union-attr]


def test_a_blob_is_never_asked_and_no_history_is_none(tmp_path: Path) -> None:
    blob = Environment(name="prod", history=History(store="blob", url="https://nowhere.example/history"))
    assert find(tmp_path, blob, Environment(name="dev"), Environment(name="b", history=History(store="branch"))) is None
