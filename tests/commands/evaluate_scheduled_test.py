"""`llmops evaluate --scheduled` on a real project: real workers and evaluators, the fake backend's endpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmops.backends.fake import Behaviour
from llmops.backends.protocols import Answer
from llmops.commands.evaluate_scheduled import _is_rehearsal, evaluate_scheduled
from llmops.config.layers import Options
from llmops.errors import UsageError
from llmops.history.entry import HistoryEntry, read_entries
from tests.commands.shop import Shop
from tests.hosts.surroundings import build_context

pytestmark = pytest.mark.slow


def run(shop: Shop, *, occasion: str = "monday", environment: str | None = "dev", **options: Any) -> int:
    chosen: dict[str, Any] = {"experiments": [], "output": None, "dry_run": False, "json_output": False, **options}
    return evaluate_scheduled(
        context=shop.context,
        tools=shop.tools,
        flags=Options(environment=environment),
        occasion=occasion,
        **chosen,
    )


def history(shop: Shop) -> list[HistoryEntry]:
    files = (shop.project.root / ".llmops/history").glob("*/*.jsonl")
    return list(read_entries(path.read_text(encoding="utf-8") for path in files).entries)


def served(shop: Shop) -> Shop:
    shop.register()
    assert shop.deploy() == 0
    return shop


def answer_wrongly(shop: Shop, wrong: int) -> None:
    """Let what serves answer the first rows wrongly."""

    def answer(inputs: Any) -> Answer:
        number = int(inputs["question"].split()[-1])
        text = "nonsense" if number < wrong else inputs["question"][::-1]
        return Answer(status=200, outputs={"answer": text}, duration_s=0.01)

    endpoint = shop.backend.see("tiny-dev")
    assert endpoint
    for deployment in endpoint.deployments.values():
        shop.behave(deployment.digest, Behaviour(answer=answer))


def test_the_flow_and_what_serves_are_measured_and_recorded(shop: Shop) -> None:
    assert run(served(shop)) == 0
    found = {entry.subject: entry for entry in history(shop)}
    assert {name: entry.outcome for name, entry in found.items()} == {"flow": "pass", "endpoint": "pass"}
    assert (found["endpoint"].version, found["flow"].version) == ("1", "")
    assert found["endpoint"].metrics[0].value == 1.0
    assert found["endpoint"].latency_s == {"p50": 0.01, "p95": 0.01}


def test_every_row_is_asked_of_the_endpoint_as_its_users_ask(shop: Shop) -> None:
    served(shop)
    before = len(shop.backend.calls)
    run(shop)
    asked = [call for call in shop.backend.calls[before:] if call.method == "score"]
    probe, rows = 1, 20
    assert len(asked) == probe + rows


def test_where_nothing_serves_only_the_flow_is_measured(shop: Shop) -> None:
    assert run(shop) == 0
    assert [entry.subject for entry in history(shop)] == ["flow"]
    assert "tiny-dev: nothing serves there." in shop.said


def test_what_serves_is_held_against_the_gate(shop: Shop) -> None:
    answer_wrongly(served(shop), wrong=5)
    assert run(shop) == 10
    (entry,) = (entry for entry in history(shop) if entry.subject == "endpoint")
    assert [(limit.limit, limit.outcome) for limit in entry.limits if limit.outcome == "fail"] == [
        ("min 0.8", "fail"),
        ("max_regression 0.1", "fail"),
    ]
    assert "accuracy min 0.8: 0.75" in shop.out[-2]


def test_what_serves_is_compared_with_the_record_of_its_version(shop: Shop) -> None:
    answer_wrongly(served(shop), wrong=3)
    assert run(shop, json_output=True) == 10
    (flow, endpoint) = json.loads(shop.out[-1])["measurements"]
    verdict = json.loads(Path(endpoint["reports"]["json"]).read_text(encoding="utf-8"))
    (finding,) = (one for one in verdict["findings"] if one["limit"] == "max_regression 0.1")
    assert flow["outcome"] == "pass"
    assert (finding["outcome"], finding["baseline"], finding["value"]) == ("fail", 1.0, 0.85)
    assert finding["message"] == (
        "accuracy is 0.85 now and was 1 in version 1 as it was recorded: worse by 0.15, 0.1 may be"
    )


def test_without_a_comparable_record_the_first_scheduled_evaluation_is_the_record(shop: Shop) -> None:
    served(shop)
    shop.project.rows(*(f"question {number}" for number in range(10, 30)))
    assert run(shop) == 0
    answer_wrongly(shop, wrong=13)
    assert run(shop, occasion="tuesday", json_output=True) == 10
    report = json.loads(shop.out[-1])["measurements"][1]["reports"]["markdown"]
    text = Path(report).read_text(encoding="utf-8")
    assert "compared with the first scheduled evaluation of this version" in text


def test_the_same_occasion_is_measured_and_recorded_once(shop: Shop) -> None:
    run(served(shop))
    before, asked = history(shop), len(shop.backend.calls)
    assert run(shop) == 0
    assert history(shop) == before
    probe = 1
    assert sum(call.method == "score" for call in shop.backend.calls[asked:]) == probe


def test_another_occasion_asks_the_flow_and_the_endpoint_again(shop: Shop) -> None:
    run(served(shop))
    assert run(shop, occasion="tuesday") == 0
    runs = [json.loads(path.read_text()) for path in (shop.project.root / ".llmops/runs").glob("answer-*/run.json")]
    assert len(history(shop)) == 4
    assert [one["cached"] for one in runs].count(0) >= 2


def test_an_endpoint_that_answers_nobody_is_an_error_and_no_verdict(shop: Shop) -> None:
    served(shop)
    endpoint = shop.backend.see("tiny-dev")
    assert endpoint
    for deployment in endpoint.deployments.values():
        shop.behave(deployment.digest, Behaviour(answer=lambda _: Answer(status=0, text="connection refused")))
    assert run(shop) == 4
    (entry,) = (entry for entry in history(shop) if entry.subject == "endpoint")
    assert (entry.outcome, entry.error, entry.metrics) == ("error", "the endpoint answers nobody", ())


def test_a_history_that_cannot_be_kept_is_an_error_and_loses_no_report(shop: Shop) -> None:
    path = "config/environments/dev.yaml"
    text = (shop.project.root / path).read_text(encoding="utf-8")
    shop.project.write(path, text + "history: {store: branch, remote: nowhere}\n")
    assert run(shop, json_output=True) == 2
    shown = json.loads(shop.out[-1])
    assert [one["outcome"] for one in shown["measurements"]] == ["pass"]
    assert "the history of environment 'dev' could not be kept" in shown["problems"][0]
    assert Path(shown["measurements"][0]["reports"]["html"]).is_file()


@pytest.mark.parametrize(
    ("event", "ref", "is_rehearsal"),
    [
        ("workflow_dispatch", "refs/heads/feature", True),
        ("workflow_dispatch", "refs/heads/main", False),
        ("schedule", "refs/heads/main", False),
    ],
)
def test_a_run_for_another_branch_is_a_rehearsal(tmp_path: Path, event: str, ref: str, *, is_rehearsal: bool) -> None:
    document = tmp_path / "event.json"
    document.write_text(json.dumps({"repository": {"default_branch": "main"}}), encoding="utf-8")
    env = {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": event, "GITHUB_EVENT_PATH": str(document), "GITHUB_REF": ref}
    assert _is_rehearsal(build_context(tmp_path, env=env)) == is_rehearsal


def test_a_dry_run_measures_and_records_nothing(shop: Shop) -> None:
    assert run(served(shop), dry_run=True) == 0
    assert history(shop) == []
    page = (shop.project.root / ".llmops/reports/scheduled/history.html").read_text(encoding="utf-8")
    assert "2 passed" in page


def test_the_configured_data_sets_are_measured(shop: Shop) -> None:
    shop.project.replace("config/experiments/tiny.yaml", "datasets:\n", "datasets:\n  few: {path: few.jsonl}\n")
    shop.project.write("few.jsonl", json.dumps({"question": "question 1", "expected": "1 noitseuq"}) + "\n")
    path = shop.project.root / "config/experiments/tiny.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "scheduled: {datasets: [few, rows], endpoints: false}\n")
    assert run(served(shop)) == 0
    assert {(entry.subject, entry.dataset.name) for entry in history(shop)} == {("flow", "few"), ("flow", "rows")}


def test_without_an_environment_all_of_them_are_looked_at(shop: Shop) -> None:
    assert run(served(shop), environment=None) == 0
    assert {(entry.subject, entry.environment) for entry in history(shop)} == {("flow", "local"), ("endpoint", "dev")}


def test_a_configuration_that_is_wrong_is_refused_before_anything_is_measured(shop: Shop) -> None:
    shop.project.replace("config/experiments/tiny.yaml", "metric: accuracy", "metric: accurcy")
    with pytest.raises(UsageError, match="no such metric"):
        run(served(shop))
    assert history(shop) == []


def test_redacted_rows_leave_no_trace_in_reports_and_history(shop: Shop) -> None:
    path = shop.project.root / "config/experiments/tiny.yaml"
    answer_wrongly(served(shop), wrong=5)
    path.write_text(path.read_text(encoding="utf-8") + "redact: true\n", encoding="utf-8")
    assert run(shop) == 10
    state = shop.project.root / ".llmops"
    written = [file for folder in ("reports", "history") for file in (state / folder).rglob("*") if file.is_file()]
    assert len(written) >= 8
    assert not [file for file in written if "noitseuq" in file.read_text(encoding="utf-8")]
    assert "noitseuq" not in "\n".join([*shop.out, *shop.said])


def test_a_pull_requests_report_shows_what_the_main_branch_had(shop: Shop) -> None:
    shop.project.replace("config/experiments/tiny.yaml", "gate:\n", "scheduled: {endpoints: false}\ngate:\n")
    assert run(shop, environment="local") == 0
    code, verdict = shop.project.check("--baseline", "none")
    assert (code, verdict["past_environment"]) == (0, "local")
    assert ("quality.accuracy", 1.0) in [(one["metric"], one["value"]) for one in verdict["past"]]
    assert verdict["distributions"][0]["candidate"] == [20]
