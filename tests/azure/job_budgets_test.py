"""A budget in command jobs: each job of the emulator really runs the driver, with the share that it was given."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from llmops.emulator.cloud import Workspace
from llmops.emulator.emulator import Emulator
from tests.azure.conftest import GROUP, SUBSCRIPTION, Requests, unique
from tests.azure.workbench import Workbench, make_workbench
from tests.projects import FLOWS, wait_for

ASKS = """\
inputs:
  question: {type: string}
outputs:
  answer: {type: string, reference: "${ask.output}"}
nodes:
- name: ask
  type: llm
  source: {type: code, path: ask.jinja2}
  inputs: {model: gpt-4o-mini, question: "${inputs.question}"}
  connection: models
  api: chat
"""
PROMPT = "# system:\nSummarise in one sentence.\n# user:\n{{question}}\n"
CONNECTION = "connections:\n  models: {type: stand_in}\n"
PRICES = "prices:\n  gpt-4o-mini: {prompt: 1000, completion: 1000, as_of: 2026-05-01}\n"
ROWS = 6


@pytest.fixture
def bench(emulator: Emulator, tmp_path: Path) -> Workbench:
    del emulator
    bench = make_workbench(tmp_path / "project", unique("budgets"))
    bench.write("flows/answer/flow.dag.yaml", ASKS)
    bench.write("flows/answer/ask.jinja2", PROMPT)
    bench.rows(*(f"Is number {number} the right one?" for number in range(ROWS)))
    bench.replace("config/experiments/tiny.yaml", "gate:\n", "concurrency: 1\ngate:\n")
    bench.replace("config/experiments/tiny.yaml", "min: 0.8", "min: 0")
    bench.environment(runs="compute: job", more=CONNECTION + PRICES)
    return bench


def allow(bench: Workbench, budget: str) -> None:
    """Give the experiment a budget in place of the one that it has."""
    path = bench.root / "config/experiments/tiny.yaml"
    text = re.sub(r"budget: .*\n", "", path.read_text(encoding="utf-8"))
    bench.write("config/experiments/tiny.yaml", text + f"budget: {{{budget}}}\n")


def given(requests: Requests) -> Sequence[str]:
    """Return the shares of the jobs that were submitted, in order; `none` for one without."""
    jobs = [json.loads(entry.body)["properties"] for entry in requests.all("PUT", "/jobs/")]
    return [job["tags"].get("llmops.share", "none") for job in jobs]


def lines(bench: Workbench, run: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in bench.call("runs", "export", run).out.splitlines()]


def price_of_a_line(bench: Workbench) -> int:
    """Run without a budget on this machine; return the tokens of the dearest line."""
    bench.write("config/environments/local.yaml", "backend: local\n" + CONNECTION)
    run = bench.json("run", "tiny", "--environment", "local")
    return max(int(line["tokens"]["total"]) for line in lines(bench, run["id"]))


def test_a_budget_stops_a_job_and_what_is_left_is_unmeasured(bench: Workbench, requests: Requests) -> None:
    price = price_of_a_line(bench)
    allow(bench, f"tokens: {2 * price}")
    answer = bench.call("run", "tiny", "--environment", "dev", "--json")
    record = json.loads(answer.out)
    assert (record["failed"], record["completed"] + record["unmeasured"]) == (0, ROWS)
    assert 2 * price <= record["tokens"]["total"] < 3 * price
    left = [line["error"] for line in lines(bench, record["id"]) if line["status"] == "unmeasured"]
    assert {error["type"] for error in left} == {"BudgetSpent"}
    assert "not enforced" not in answer.err
    assert given(requests) == [f"tokens={2 * price}"]
    code, verdict = bench.check_on_azure("tiny", "--baseline", "none")
    assert (code, verdict["outcome"]) == (11, "inconclusive")


def test_two_shards_together_stay_within_the_budget(bench: Workbench, requests: Requests) -> None:
    price = price_of_a_line(bench)
    bench.environment(runs="compute: job, jobs: {shard_lines: 3}", more=CONNECTION)
    allow(bench, f"tokens: {2 * price + 1}")
    record = bench.json("run", "tiny", "--environment", "dev")
    assert given(requests) == [f"tokens={price}"] * 2
    ended = {line["row"] for line in lines(bench, record["id"]) if line["status"] == "completed"}
    assert (len(ended) >= 2, record["unmeasured"]) == (True, ROWS - len(ended))
    assert record["tokens"]["total"] < 2 * price + 2 * price  # in each job the last call may end above its share
    assert {row < ROWS // 2 for row in ended} == {True, False}


def test_with_enough_budget_nothing_changes(bench: Workbench, requests: Requests) -> None:
    plain = bench.json("run", "tiny", "--environment", "dev")
    bench.environment(workspace=unique("rich"), runs="compute: job", more=CONNECTION + PRICES)
    allow(bench, "tokens: 1000000, usd: 1000")
    bench.forget()
    rich = bench.json("run", "tiny", "--environment", "dev")
    same = ("completed", "failed", "unmeasured", "lines_digest", "tokens", "cost_usd")
    assert {key: rich[key] for key in same} == {key: plain[key] for key in same}
    assert given(requests) == ["none", "tokens=1000000 usd=1000.000000"]


def test_the_share_is_no_part_of_what_a_run_is_called(bench: Workbench, requests: Requests) -> None:
    first = bench.json("run", "tiny", "--environment", "dev")
    allow(bench, "tokens: 1000000")
    bench.forget()
    again = bench.json("run", "tiny", "--environment", "dev")
    assert (again["id"], again["cached"], given(requests)) == (first["id"], ROWS, ["none"])


def test_a_budget_in_dollars_stops_a_job(bench: Workbench, requests: Requests) -> None:
    price = price_of_a_line(bench) / 1000  # dollars
    allow(bench, f"usd: {2 * price}")
    record = bench.json("run", "tiny", "--environment", "dev")
    assert 2 * price <= record["cost_usd"] < 3 * price
    assert (record["failed"], record["unmeasured"] > 0) == (0, True)
    assert given(requests) == [f"usd={2 * price:.6f}"]


def test_a_budget_in_dollars_refuses_a_model_without_a_price(bench: Workbench) -> None:
    bench.environment(runs="compute: job", more=CONNECTION)
    allow(bench, "usd: 10")
    record = bench.json("run", "tiny", "--environment", "dev")
    assert {line["error"]["type"] for line in lines(bench, record["id"])} == {"PriceUnknown"}


def test_candidate_and_baseline_divide_the_budget_and_evaluators_without_models_get_none(
    bench: Workbench, requests: Requests
) -> None:
    bench.commit()
    bench.replace("flows/answer/ask.jinja2", "in one sentence", "briefly")
    allow(bench, "tokens: 100001")
    answer = bench.call("check", "tiny", "--baseline", "HEAD", "--environment", "dev")
    assert answer.code in {0, 10, 11}, answer.err
    assert given(requests) == ["tokens=50000", "tokens=50000", "none"]


def judge(bench: Workbench) -> None:
    """Let a model evaluate."""
    bench.write("flows/score/ask.jinja2", PROMPT.replace("question", "answer"))
    score = ASKS.replace("  question: {type", "  answer: {type").replace("question:", "answer:")
    score = score.replace("inputs.question", "inputs.answer").replace(
        "  answer: {type: string, ref", "  correct: {type: string, ref"
    )
    bench.write("flows/score/flow.dag.yaml", score)
    bench.replace("config/experiments/tiny.yaml", 'expected: "${data.expected}", ', "")


def test_an_evaluation_gets_what_its_target_left(bench: Workbench, requests: Requests) -> None:
    judge(bench)
    allow(bench, "tokens: 100000")
    _, verdict = bench.check_on_azure("tiny", "--baseline", "none")
    spent = verdict["candidate"]["run"]["tokens"]["total"]
    assert spent > 0
    assert given(requests) == ["tokens=100000", f"tokens={100000 - spent}"]


def test_two_runs_that_answer_alike_are_judged_once_with_one_share(bench: Workbench, requests: Requests) -> None:
    judge(bench)
    bench.commit()
    bench.replace(
        "flows/answer/flow.dag.yaml",
        "inputs:\n  question: {type: string}",
        "inputs:\n  question: {type: string} # text",
    )
    allow(bench, "tokens: 100000")
    for side in ((), ("--ref", "HEAD")):
        bench.json("run", "tiny", *side, "--environment", "dev")
    _, verdict = bench.check_on_azure("tiny", "--baseline", "HEAD")
    runs = [verdict[side]["evaluation_runs"]["quality"] for side in ("candidate", "baseline")]
    assert runs[0] == runs[1]
    assert given(requests) == ["tokens=100000"] * 3


@pytest.mark.parametrize("budget", ["tokens: 0", "usd: 0"])
def test_where_nothing_is_left_no_job_is_started(bench: Workbench, requests: Requests, budget: str) -> None:
    allow(bench, budget)
    answer = bench.call("run", "tiny", "--environment", "dev", "--json")
    record = json.loads(answer.out)
    assert (record["unmeasured"], given(requests)) == (ROWS, [])
    assert "tiny: nothing is left of the budget, so no job is started; lines are unmeasured." in answer.err
    allow(bench, "tokens: 1000000")
    assert bench.json("run", "tiny", "--environment", "dev")["completed"] == ROWS


def test_what_a_share_left_over_runs_with_the_next_command_and_its_own_budget(
    bench: Workbench, requests: Requests
) -> None:
    price = price_of_a_line(bench)
    allow(bench, f"tokens: {2 * price}")
    first = bench.json("run", "tiny", "--environment", "dev")
    second = bench.json("run", "tiny", "--environment", "dev")
    assert (second["id"], second["cached"]) == (first["id"], ROWS)
    assert second["completed"] > first["completed"] > 0
    assert given(requests) == [f"tokens={2 * price}"] * 2


def test_a_job_that_goes_on_keeps_its_share_and_others_get_what_it_does_not_hold(
    bench: Workbench, emulator: Emulator, inject: Callable[..., None], requests: Requests
) -> None:
    """The first command is gone; the second attaches to its job, which may spend more than half of the budget."""
    bench.commit()
    bench.replace("flows/answer/ask.jinja2", "in one sentence", "briefly")
    inject(effect="stick_operation", path="/jobs/")
    allow(bench, "tokens: 70000")
    started = bench.json("run", "tiny", "--environment", "dev", "--detach")
    bench.forget()
    allow(bench, "tokens: 100000")
    workspace = Workspace(subscription=SUBSCRIPTION, resource_group=GROUP, name=bench.workspace)

    def cancel() -> None:
        wait_for(lambda: len(given(requests)) > 1)
        emulator.cloud.jobs.cancel(workspace, f"{started['id']}-s1")

    thread = threading.Thread(target=cancel)
    thread.start()
    answer = bench.call("check", "tiny", "--baseline", "HEAD", "--environment", "dev")
    thread.join()
    assert (answer.code, "the run was canceled" in answer.err) == (4, True), answer.err
    assert given(requests)[:2] == ["tokens=70000", "tokens=30000"]


def test_a_job_that_another_command_starts_in_the_same_moment_keeps_its_share(
    bench: Workbench, inject: Callable[..., None], requests: Requests
) -> None:
    allow(bench, "tokens: 70000")
    started = bench.json("run", "tiny", "--environment", "dev", "--detach")
    bench.forget()
    allow(bench, "tokens: 100000")
    inject(method="GET", path="/jobs/.*-s1$", status=404, count=2)
    record = bench.json("run", "tiny", "--environment", "dev")
    assert (record["id"], record["completed"]) == (started["id"], ROWS)
    assert given(requests) == ["tokens=70000", "tokens=100000"]
    assert requests.statuses("PUT", "/jobs/") == [201, 400]


def test_what_failed_and_could_not_call_a_model_takes_nothing_from_others(
    bench: Workbench, inject: Callable[..., None], requests: Requests
) -> None:
    """The baseline calls no model, and its job fails; the candidate's evaluation gets all that the candidate left."""
    judge(bench)
    model = (bench.root / "flows/answer/flow.dag.yaml").read_text(encoding="utf-8")
    bench.write("flows/answer/flow.dag.yaml", (FLOWS / "answer/flow.dag.yaml").read_text(encoding="utf-8"))
    bench.commit()
    bench.write("flows/answer/flow.dag.yaml", model)
    allow(bench, "tokens: 100000")
    inject(effect="fail_operation", path="/jobs/")
    _, verdict = bench.check_on_azure("tiny", "--baseline", "HEAD")
    spent = verdict["candidate"]["run"]["tokens"]["total"]
    assert given(requests) == ["none", "tokens=100000", f"tokens={100000 - spent}"]


def test_a_shard_that_an_interrupted_command_started_keeps_its_share(
    bench: Workbench, inject: Callable[..., None], requests: Requests
) -> None:
    bench.environment(runs="compute: job, jobs: {shard_lines: 3}", more=CONNECTION)
    allow(bench, "tokens: 60000")
    inject(method="PUT", path="/jobs/.*-s1$", status=400)
    assert bench.call("run", "tiny", "--environment", "dev").code == 4
    allow(bench, "tokens: 100000")
    record = bench.json("run", "tiny", "--environment", "dev")
    assert record["completed"] == ROWS
    assert given(requests) == ["tokens=30000", "tokens=30000", "tokens=70000"]
