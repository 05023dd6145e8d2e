"""`llmops register`: the judged bytes, and nothing else, become a version."""

from __future__ import annotations

import json
import venv
from concurrent.futures import ThreadPoolExecutor

import pytest

from llmops.errors import UsageError
from tests.commands.shop import ENVIRONMENT, Shop


def test_a_flow_that_passed_becomes_version_1_with_its_verdict(shop: Shop) -> None:
    model = shop.register()
    assert (model["name"], model["version"]) == ("tiny", "1")
    (package,) = shop.packages()
    verdict = json.loads((package / "verdict.json").read_text(encoding="utf-8"))
    assert (verdict["experiment"], verdict["outcome"]) == ("tiny", "pass")


def test_registering_the_same_content_again_gives_the_same_version_and_changes_nothing(shop: Shop) -> None:
    first = shop.register()
    assert shop.register() == first
    assert len(shop.packages()) == 1


def test_racing_registrations_of_one_content_give_one_version(shop: Shop) -> None:
    with ThreadPoolExecutor(8) as pool:
        versions = {future.result()["version"] for future in [pool.submit(shop.register) for _ in range(8)]}
    assert versions == {"1"}
    assert len(shop.models()) == 1


def test_a_flow_that_was_changed_after_its_verdict_is_refused(shop: Shop) -> None:
    shop.project.replace("flows/answer/answer.py", "return question[::-1]", "return question")
    with pytest.raises(UsageError) as refusal:
        shop.register()
    assert "no verdict for this very content" in str(refusal.value)
    assert "Run: llmops check tiny" in str(refusal.value)


def test_a_flow_whose_gate_failed_is_refused(shop: Shop) -> None:
    shop.project.replace("flows/answer/answer.py", "return question[::-1]", "return question")
    assert shop.project.run("check", "--baseline", "none").code == 10
    with pytest.raises(UsageError, match="the newest verdict for this content did not pass"):
        shop.register()


def test_a_reason_replaces_the_verdict_and_is_recorded(shop: Shop) -> None:
    shop.project.replace("flows/answer/answer.py", "return question[::-1]", "return question")
    shop.register(without_verdict="the gate is down")
    assert shop.show()["manifest"]["without_verdict"] == "the gate is down"


def test_caches_and_ignored_files_are_not_packaged(shop: Shop) -> None:
    shop.project.write("flows/answer/__pycache__/answer.pyc", "cache")
    shop.project.write(".gitignore", ".llmops/\n__pycache__/\n*.log\n")
    shop.project.write("flows/answer/debug.log", "a log")
    shop.register()
    (package,) = shop.packages()
    names = {path.name for path in package.rglob("*") if path.is_file()}
    assert names == {"manifest.json", "verdict.json", "answer.py", "flow.dag.yaml"}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (".env", "TOKEN=1"),
        ("key.pem", "x"),
        ("notes.txt", "-----BEGIN " + "PRIVATE KEY-----"),
        ("k.py", "K='sk-" + "a" * 40 + "'"),
    ],
)
def test_a_secret_in_the_flow_is_refused_and_never_shown(shop: Shop, path: str, text: str) -> None:
    shop.project.write(f"flows/answer/{path}", text)
    with pytest.raises(UsageError) as refusal:
        shop.register(without_verdict="to see it refused")
    assert "a secret in the flow" in str(refusal.value)
    assert text not in str(refusal.value)
    assert shop.packages() == []


def test_requirements_are_pinned_with_all_that_they_need(shop: Shop) -> None:
    shop.project.write("flows/answer/requirements.txt", "jinja2\nnot-installed-anywhere>=1\n")
    shop.check()
    shop.register()
    lines = (shop.packages()[0] / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert [line.partition("==")[0] for line in lines] == ["jinja2", "markupsafe", "not-installed-anywhere>=1"]


def test_requirements_are_pinned_to_what_the_flows_own_python_has(shop: Shop) -> None:
    venv.create(shop.project.root / "own", with_pip=False, system_site_packages=True)
    (packages,) = (shop.project.root / "own/lib").glob("*/site-packages")
    (packages / "greeting-9.9.dist-info").mkdir()
    (packages / "greeting-9.9.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: greeting\nVersion: 9.9\n")
    shop.project.write("flows/answer/requirements.txt", "greeting\n")
    shop.project.replace(
        "config/experiments/tiny.yaml", "flow: flows/answer\n", "flow: flows/answer\npython: own/bin/python\n"
    )
    shop.register(without_verdict="a test")
    assert (shop.packages()[0] / "requirements.lock").read_text(encoding="utf-8") == "greeting==9.9\n"


def test_what_overlays_the_flow_is_part_of_the_content_that_was_judged(shop: Shop) -> None:
    plain = shop.register()
    shop.project.replace(
        "config/experiments/tiny.yaml",
        "flow: flows/answer\n",
        "flow: flows/answer\nenvironment_variables: {TONE: mild}\n",
    )
    with pytest.raises(UsageError, match="no verdict for this very content"):
        shop.register()
    shop.check()
    assert shop.register()["digest"] != plain["digest"]
    assert shop.show()["manifest"]["flow"]["environment_variables"] == ["TONE"]


def test_a_version_is_not_deployed_without_a_variable_that_it_was_judged_with(shop: Shop) -> None:
    name = "config/experiments/tiny.yaml"
    shop.project.replace(name, "flow: flows/answer\n", "flow: flows/answer\nenvironment_variables: {TONE: mild}\n")
    shop.register(without_verdict="a test")
    shop.project.write("config/environments/dev.yaml", ENVIRONMENT + "requires: {verdict: false}\n")
    shop.project.replace(name, "environment_variables: {TONE: mild}\n", "")
    with pytest.raises(UsageError, match="no longer sets an environment variable"):
        shop.deploy()


def test_the_snapshot_of_a_run_is_registered_from_its_commit_when_the_files_have_changed(shop: Shop) -> None:
    run = json.loads(next((shop.project.root / ".llmops/verdicts").glob("*.json")).read_text(encoding="utf-8"))
    shop.change_flow()
    model = shop.register(run=run["candidate"]["run"]["id"])
    package = shop.packages()[0]
    assert "another version" not in (package / "flow/flows/answer/answer.py").read_text(encoding="utf-8")
    assert shop.verify()[1]["commit"] == "ok"
    assert model["digest"] == run["candidate"]["run"]["flow"]["digest"]


def test_the_files_of_a_run_that_no_commit_holds_are_gone_once_they_change(shop: Shop) -> None:
    shop.change_flow("# never committed\n")
    runs = [
        json.loads(path.read_text(encoding="utf-8")) for path in (shop.project.root / ".llmops/runs").glob("*/run.json")
    ]
    dirty = next(run for run in runs if run["flow"]["dirty"] and run["target"] is None)
    shop.change_flow("# something else\n")
    with pytest.raises(UsageError, match="the files of this run are gone"):
        shop.register(run=dirty["id"])


def test_a_newer_verdict_over_the_same_content_is_attached_to_the_version(shop: Shop) -> None:
    shop.register()
    shop.project.rows(*(f"other {number}" for number in range(20)))
    shop.check()
    assert len(shop.register()["evidence"]) == 1
    assert len(shop.register()["evidence"]) == 1
