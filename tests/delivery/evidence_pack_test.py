"""What a reviewer reads before a version is promoted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from llmops.core.endpoint import Deployment
from llmops.delivery.evidence_pack import Candidate, write_pack
from llmops.delivery.package import Package, Proof
from llmops.records import VerdictRecord
from llmops.releases import Manifest, ModelRecord
from tests.reports.verdicts import build_verdict, failed_verdict

DIGEST = "sha256:" + "3f" * 32


def package(folder: Path, verdict: VerdictRecord) -> Package:
    flow = verdict.candidate.run.flow
    manifest = Manifest(
        model="web", digest=DIGEST, flow=flow, project="flow", definition="flow.dag.yaml", flow_kind="dag"
    )
    return Package(folder, manifest, Proof(verdict, b""))


def costing(verdict: VerdictRecord, usd: float | None) -> VerdictRecord:
    run = replace(verdict.candidate.run, cost_usd=usd)
    return replace(verdict, candidate=replace(verdict.candidate, run=run))


def read_pack(folder: Path, new: VerdictRecord, old: VerdictRecord | None) -> str:
    model = ModelRecord(name="web", version="2", digest=DIGEST, manifest=DIGEST, created_at="now", created_by="ana")
    serving = Deployment(name="v2", model="web", version="2", digest=DIGEST, status="healthy")
    candidate = Candidate(
        model=model,
        package=package(folder, new),
        source="dev",
        deployment=serving,
        serving_since="",
        serving_by="ana https://ci/run/7",
    )
    production = package(folder, old) if old else None
    path = write_pack(folder, candidate, production, environment="prod", missing=[], asked_by="ben")
    return path.read_text(encoding="utf-8")


def test_what_a_thousand_rows_cost_stands_beside_productions(tmp_path: Path) -> None:
    page = read_pack(tmp_path, costing(build_verdict(), 0.05), costing(build_verdict(), 0.03))
    assert "| cost of 1 000 rows, US dollars | 2.5 | 1.5 |" in page
    assert "| tokens per row | 652 | 652 |" in page


def test_the_page_says_who_brought_the_version_where_it_serves(tmp_path: Path) -> None:
    assert "brought there by ana https://ci/run/7. Registered" in read_pack(tmp_path, build_verdict(), None)


def test_a_cost_that_nobody_knows_is_not_nothing(tmp_path: Path) -> None:
    page = read_pack(tmp_path, build_verdict(), None)
    assert "| cost of 1 000 rows, US dollars | not known | none |" in page


def test_rows_that_flipped_are_listed_by_score_and_nothing_that_users_ask(tmp_path: Path) -> None:
    page = read_pack(tmp_path, failed_verdict(), None)
    assert "| 12 | regressed | accuracy.grade 0 | accuracy.grade 1 |" in page
    assert "https://apps.example/12" not in page
