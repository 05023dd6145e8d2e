"""`llmops promote`: the very version that serves, if its evidence satisfies the other environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmops.errors import UsageError
from llmops.hosts.github import GITHUB
from tests.commands.shop import ENVIRONMENT, Shop
from tests.hosts.surroundings import read_outputs


def _in_dev(shop: Shop, prod: str = "") -> None:
    shop.project.write("config/environments/prod.yaml", ENVIRONMENT + prod)
    shop.register()
    assert shop.deploy("dev") == 0


def test_the_version_that_serves_in_dev_serves_in_prod_by_digest(shop: Shop) -> None:
    _in_dev(shop)
    shop.change_flow()
    shop.register()
    assert shop.promote() == 0
    assert shop.serving("prod") == {"1": 100}
    dev, prod = shop.backend.see("tiny-dev"), shop.backend.see("tiny-prod")
    assert dev
    assert prod
    assert {one.digest for one in dev.deployments.values()} == {one.digest for one in prod.deployments.values()}


def test_the_version_that_was_approved_must_still_be_the_one_that_serves(shop: Shop) -> None:
    _in_dev(shop)
    shop.change_flow()
    shop.register()
    assert shop.deploy("dev") == 0
    with pytest.raises(UsageError) as refusal:
        shop.promote(version="1")
    assert "version 1 is not what serves in environment 'dev'" in str(refusal.value)
    assert "version 2 with all traffic" in str(refusal.value)
    assert shop.serving("prod") == {}
    assert shop.promote(version="2") == 0


def test_promoting_twice_says_already_so(shop: Shop) -> None:
    _in_dev(shop)
    shop.promote()
    assert shop.promote() == 0
    assert shop.out[-1] == "tiny-prod: version 1 has all traffic already."


def test_a_canary_half_way_cannot_be_promoted(shop: Shop) -> None:
    _in_dev(shop)
    _, endpoints = shop.backend.connect()
    observed = shop.backend.see("tiny-dev")
    assert observed
    (name,) = observed.deployments
    endpoints.update_endpoint("tiny-dev", tags={"llmops.rollout": f"x deploy {name} 1"})
    with pytest.raises(UsageError, match="no single healthy version serves in environment 'dev'"):
        shop.promote()


@pytest.mark.parametrize(
    ("rule", "problem", "fix"),
    [
        ("{gates: [other]}", "the gate of 'other' has not passed for this content", "llmops check other"),
        ("{datasets: [more]}", "no passing verdict over the data set 'more'", "llmops check tiny --dataset more"),
        ("{approvals: 2}", "not enough approvals", "--approved-by NAME"),
        ("{min_bake_s: 3600}", "it has not served long enough where it comes from", "Run the same command again in"),
        (
            "{}\noverrides: {tiny: {python: other}}",
            "the environment lays other python over the flow",
            "llmops check tiny",
        ),
        ("{max_age_s: 1}", "no passing verdict that counts", "llmops check tiny"),
    ],
)
def test_a_refusal_names_the_missing_evidence_and_the_command(shop: Shop, rule: str, problem: str, fix: str) -> None:
    experiment = (shop.project.root / "config/experiments/tiny.yaml").read_text(encoding="utf-8")
    shop.project.write("config/experiments/other.yaml", experiment)
    shop.project.replace(
        "config/experiments/tiny.yaml", "{path: rows.jsonl}", "{path: rows.jsonl}\n  more: {path: rows.jsonl}"
    )
    _in_dev(shop, f"requires: {rule}\n")
    shop.backend.clock.sleep(20 * 365 * 86400 if "age" in rule else 0)
    with pytest.raises(UsageError) as refusal:
        shop.promote(approvals=["ana", "Ana"])
    assert problem in str(refusal.value)
    assert fix in str(refusal.value)
    assert shop.serving("prod") == {}


def test_approvals_of_different_people_are_recorded(shop: Shop) -> None:
    _in_dev(shop, "requires: {approvals: 2}\n")
    assert shop.promote(approvals=["ana", "ben"]) == 0
    assert shop.rollouts()[-1]["approvals"] == ["ana", "ben"]


def test_the_evidence_pack_shows_what_changes_and_promotes_nothing(shop: Shop, tmp_path: Path) -> None:
    _in_dev(shop, "requires: {approvals: 1}\n")
    assert shop.promote(approvals=["ana"]) == 0
    shop.change_flow("# a new line for users\n")
    shop.register()
    assert shop.deploy("dev") == 0
    shop.host, shop.env["GITHUB_OUTPUT"] = GITHUB, str(tmp_path / "outputs")
    assert shop.promote(evidence=tmp_path / "pack") == 0
    page = (tmp_path / "pack/evidence.md").read_text(encoding="utf-8")
    assert "# Promote tiny version 2 from dev to prod" in page
    assert read_outputs(tmp_path / "outputs")["version"] == "2"
    assert "+# a new line for users" in page
    assert "| quality.accuracy | 1 (" in page
    assert "- not enough approvals (found: 0)" in page
    assert shop.serving("prod") == {"1": 100}


def test_a_package_that_must_be_attested_and_is_not_stays_where_it_is(shop: Shop, tmp_path: Path) -> None:
    _in_dev(shop)
    workflow = "octo/llmops/.github/workflows/llmops-release.yml"
    with pytest.raises(UsageError, match="attestations are known on GitHub alone"):
        shop.promote(attested_by=workflow)
    assert shop.serving("prod") == {}
    assert shop.promote(attested_by=workflow, evidence=tmp_path / "pack") == 0
    assert "attestations are known on GitHub alone" in (tmp_path / "pack/evidence.md").read_text(encoding="utf-8")
