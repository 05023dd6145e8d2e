"""`llmops deploy` on a real project: real packages, real evaluators, the fake backend's deployments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from llmops.backends.fake import Behaviour, Fault, Killed
from llmops.backends.protocols import Answer
from llmops.errors import UsageError
from tests.commands.shop import ENVIRONMENT, Shop, right


def test_a_registered_version_is_proven_and_gets_all_traffic(shop: Shop) -> None:
    shop.register()
    assert shop.deploy() == 0
    assert shop.serving() == {"1": 100}
    assert "version 1 has all traffic" in shop.out[-1]
    (record,) = shop.rollouts()
    assert (record["outcome"], record["verdict"] != "") == ("done", True)


def test_a_second_deploy_of_the_same_version_says_already_so_and_writes_no_record(shop: Shop) -> None:
    shop.register()
    shop.deploy()
    assert shop.deploy() == 0
    assert shop.out[-1] == "tiny-dev: version 1 has all traffic already."
    assert len(shop.rollouts()) == 1


def test_a_deploy_that_could_not_look_does_not_say_that_all_is_so_already(shop: Shop) -> None:
    shop.register()
    shop.deploy()
    calls = len(shop.backend.calls)
    shop.deploy()
    methods = [call.method for call in shop.backend.calls[calls:]]
    shop.faults = [Fault(at=methods.index("observe"), kind="fail-for-good")]
    assert shop.deploy() == 4
    assert "already" not in shop.out[-1]
    assert "the backend refuses observe" in shop.out[-1]


def test_a_dry_run_shows_the_steps_that_a_deploy_takes_and_changes_nothing(shop: Shop) -> None:
    shop.register()
    assert shop.deploy(dry_run=True) == 0
    shown = [line.partition(". ")[2] for line in shop.out[-1].splitlines()[1:]]
    assert shop.backend.see("tiny-dev") is None
    shop.deploy()
    assert [step["step"] for step in shop.rollouts()[0]["steps"]] == shown


def test_a_deployment_that_answers_worse_than_the_gate_allows_never_gets_traffic(shop: Shop) -> None:
    shop.register()
    shop.deploy()
    shop.change_flow()
    digest = shop.register()["digest"]
    shop.behave(digest, Behaviour(answer=lambda _: Answer(status=200, outputs={"answer": "nonsense"})))
    assert shop.deploy() == 10
    assert shop.serving() == {"1": 100}
    assert "version 2 was turned back" in shop.out[-1]
    assert shop.rollouts()[-1]["requests"] == 0


def test_a_deployment_with_wrong_output_names_is_caught_by_the_probe(shop: Shop) -> None:
    digest = shop.register()["digest"]
    shop.behave(digest, Behaviour(answer=lambda _: Answer(status=200, outputs={"reply": "x"})))
    assert shop.deploy() == 10
    assert "the answer lacks the declared outputs answer; it has reply" in shop.out[-1]
    assert shop.serving() == {}


def test_a_version_that_fails_live_requests_is_turned_back_and_the_record_counts_them(shop: Shop) -> None:
    shop.register()
    shop.deploy()
    shop.change_flow()
    digest = shop.register()["digest"]
    shop.behave(digest, Behaviour(answer=_right, error_rate=0.5))
    assert shop.deploy() == 10
    assert shop.serving() == {"1": 100}
    assert shop.rollouts()[-1]["requests"] == 20
    assert "It had seen 20 live requests." in shop.out[-1]


def test_a_backend_that_refuses_stops_the_rollout_with_4_and_status_names_the_command(shop: Shop) -> None:
    shop.register()
    calls = len(shop.backend.calls)
    shop.deploy(dry_run=True)
    first = len(shop.backend.calls) - calls
    shop.faults = [Fault(at=first + 6, kind="fail-for-good")]
    assert shop.deploy() == 4
    concerns = _concerns(shop)
    assert any("llmops deploy tiny --environment dev --version 1" in concern for concern in concerns)
    assert shop.deploy() == 0
    assert _concerns(shop) == []


def test_a_killed_deploy_does_not_ask_for_answers_again(shop: Shop) -> None:
    shop.register()
    shop.faults = [Fault(at=30, kind="die-after")]
    with pytest.raises(Killed):
        shop.deploy()
    asked = sum(call.method == "score" for call in shop.backend.calls)
    assert asked > 5
    shop.backend.clock.sleep(121)
    assert shop.deploy() == 0
    rows, probes = 20, 3
    in_flight = 16
    assert sum(call.method == "score" for call in shop.backend.calls) <= rows + probes + in_flight


def test_a_version_without_a_verdict_is_refused_where_one_is_required(shop: Shop) -> None:
    shop.project.replace("flows/answer/answer.py", "return question[::-1]", "return question[::-1] + ''")
    shop.register(without_verdict="a rehearsal")
    with pytest.raises(UsageError, match="registered without one: a rehearsal"):
        shop.deploy()
    path = "config/environments/dev.yaml"
    text = (shop.project.root / path).read_text(encoding="utf-8")
    shop.project.write(path, text + "requires: {verdict: false}\n")
    assert shop.deploy() == 0


def _right(inputs: object) -> Answer:
    from tests.commands.shop import right

    return right(inputs)  # type: ignore[arg-type]


def _concerns(shop: Shop) -> list[str]:
    places = shop.status()["places"]
    return [concern["fix"] for place in places for concern in place["concerns"] if concern["fix"]]


TONE = """\
  tone:
    flow: judges/tone.py:judge
    column_mapping: {answer: "${run.outputs.answer}"}
    metrics: {polite: {score: polite, kind: proportion}}
gate:
"""
LIVE_SCORES = """\
  live_scores: {capture_percent: 50, limits: [{metric: METRIC, min: 0.5, max_drop: 0.2}], min_answers: 3, max_answers: 5}
"""


def _watch_live_answers(shop: Shop, metric: str = "tone.polite") -> None:
    """Let an evaluator that needs no right answer score live answers in dev, whose first version is polite."""
    shop.project.write("judges/tone.py", "def judge(answer):\n    return {'polite': int('rude' not in answer)}\n")
    shop.project.replace("config/experiments/tiny.yaml", "gate:\n", TONE)
    environment = ENVIRONMENT.replace("bake_s: 20", "bake_s: 30") + LIVE_SCORES.replace("METRIC", metric)
    shop.project.write("config/environments/dev.yaml", environment)
    shop.backend.live_inputs = {"question": "live"}
    shop.check()
    shop.register()


def _rude_to_users(inputs: Mapping[str, Any]) -> Answer:
    return Answer(status=200, outputs={"answer": "rude"}) if inputs["question"] == "live" else right(inputs)


def test_a_version_whose_live_answers_score_worse_is_turned_back_in_its_first_step(shop: Shop) -> None:
    _watch_live_answers(shop)
    assert shop.deploy() == 0
    assert "scored 5 live answers: tone.polite 1" in shop.rollouts()[-1]["steps"][-2]["result"]
    shop.change_flow()
    shop.behave(shop.register()["digest"], Behaviour(answer=_rude_to_users))
    assert shop.deploy() == 10
    assert "tone.polite of live answers is 0, under 0.5" in shop.rollouts()[-1]["reason"]
    assert shop.serving() == {"1": 100}


def test_a_limit_on_live_answers_that_needs_a_right_answer_is_refused_before_anything_is_made(shop: Shop) -> None:
    _watch_live_answers(shop, "quality.accuracy")
    with pytest.raises(UsageError) as refusal:
        shop.deploy()
    assert "quality.column_mapping.expected" in str(refusal.value)
    assert shop.backend.see("tiny-dev") is None


def test_live_answers_are_not_scored_without_the_consent_to_keep_them(shop: Shop) -> None:
    _watch_live_answers(shop)
    shop.project.replace("config/environments/dev.yaml", "capture_percent: 50", "capture_percent: 0")
    with pytest.raises(UsageError, match="limits on live answers, and no answer is kept"):
        shop.deploy()
