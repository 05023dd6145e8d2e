"""`llmops models`: what is registered, and whether it is still what was judged."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.commands.shop import Shop


def test_versions_are_listed_newest_first(shop: Shop) -> None:
    shop.register()
    shop.change_flow()
    shop.register()
    assert [model["version"] for model in shop.models()] == ["2", "1"]


def test_the_chain_from_commit_to_deployment_is_verified_from_the_bytes(shop: Shop) -> None:
    shop.register()
    shop.deploy()
    code, links = shop.verify()
    assert code == 0
    assert links == dict.fromkeys(["commit", "data", "run", "verdict", "package", "deployment"], "ok")


def test_a_changed_byte_breaks_the_package(shop: Shop) -> None:
    shop.register()
    (shop.packages()[0] / "flow/flows/answer/answer.py").write_text("import os\n", encoding="utf-8")
    assert shop.verify() == (2, {"package": "broken"})


def test_changed_lines_of_the_run_break_the_chain(shop: Shop) -> None:
    run = shop.show_after_register()["manifest"]["run"]
    lines = shop.project.root / ".llmops/runs" / run / "lines.jsonl"
    lines.write_text(lines.read_text(encoding="utf-8").replace("question 3", "question 4"), encoding="utf-8")
    code, links = shop.verify()
    assert (code, links["run"]) == (2, "broken")


def test_changed_data_is_said_and_breaks_nothing(shop: Shop) -> None:
    shop.register()
    shop.project.rows("something else")
    code, links = shop.verify()
    assert (code, links["data"]) == (0, "not here")


def test_a_copy_of_a_package_is_verified_without_any_backend(shop: Shop, tmp_path: Path) -> None:
    shop.register()
    copy = shutil.copytree(shop.packages()[0], tmp_path / "copy")
    calls = len(shop.backend.calls)
    assert shop.verify(package=copy) == (0, {"package": "ok"})
    assert len(shop.backend.calls) == calls
