"""The gateway over real HTTP: the real openai client, a real gateway process, the stand-in as the service."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import openai
import pytest

from llmops.config.model import Budget, Retries
from llmops.core.prices import Price
from llmops.engine.gateway.process import Account, GatewayProcess
from llmops.engine.gateway.settings import GatewaySettings, Upstream
from llmops.engine.standin.process import StandInProcess

KEY = "sk-the-real-key-of-this-test"


class Gate(NamedTuple):
    """A gateway in front of one service, and a client as a worker has it."""

    process: GatewayProcess
    account: Account
    client: openai.OpenAI

    def ask(self, text: str, line: str = "0-aa-0", **more: Any) -> Any:
        tracking = json.dumps({"flow_id": "f", "root_run_id": line})
        return self.client.chat.completions.create(
            model="gpt-4o-mini",
            messages=[{"role": "user", "content": text}],
            extra_headers={"ms-azure-ai-promptflow": tracking} if line else {},
            **more,
        )


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandInProcess]:
    with StandInProcess() as process:
        yield process


@contextlib.contextmanager
def gateway(address: str, folder: Path, **settings: Any) -> Iterator[Gate]:
    kind = "open_ai" if address else "stand_in"
    upstream = Upstream(name="my model", kind=kind, address=address, key=KEY, identity=kind, asks_usage=not address)
    values = GatewaySettings(admin=secrets.token_hex(8), **{"store": str(folder / "calls.sqlite"), **settings})
    with GatewayProcess(values) as process:
        account = process.open_account("candidate", [upstream])
        base_url = process.address(account, upstream)
        with openai.OpenAI(api_key=account.token, base_url=base_url, max_retries=0) as client:
            yield Gate(process, account, client)


def faults(*rules: Mapping[str, Any]) -> dict[str, Any]:
    return {"faults": list(rules), "retries": Retries(per_call=3, per_run=20)}


def test_an_answer_is_counted_for_the_line_that_asked(stand_in: StandInProcess, tmp_path: Path) -> None:
    with gateway(
        stand_in.base_url, tmp_path, prices={"gpt-4o-mini": Price(prompt=1, completion=2, as_of="2026-05-01")}
    ) as gate:
        used = gate.ask("Is it late?", "0-aa-7").usage
        use = gate.account.settle("0-aa-7")
    assert use.tokens == {
        "prompt": used.prompt_tokens,
        "completion": used.completion_tokens,
        "total": used.total_tokens,
    }
    assert use.cost_usd == pytest.approx((used.prompt_tokens + 2 * used.completion_tokens) / 1e6)


def test_equal_calls_of_two_lines_are_paid_once_even_by_two_gateways(stand_in: StandInProcess, tmp_path: Path) -> None:
    stand_in.reset_stats()
    answers = []
    for line in ("0-aa-0", "0-bb-1"):
        with gateway(stand_in.base_url, tmp_path) as gate:
            answers.append(gate.ask("Who is there?", line))
    assert stand_in.stats().calls == 1
    assert answers[0].model_dump() == answers[1].model_dump()


def test_repeats_and_second_samples_of_a_line_are_calls_of_their_own(stand_in: StandInProcess, tmp_path: Path) -> None:
    stand_in.reset_stats()
    with gateway(stand_in.base_url, tmp_path) as gate:
        for line in ("0-aa-0", "0-aa-0", "1-aa-1", "2-aa-2", "0-aa-3"):
            gate.ask("Draw a number.", line)
        counts = gate.account.summary()
    assert (stand_in.stats().calls, counts.live, counts.cached) == (4, 4, 1)


def test_a_stream_is_passed_on_counted_and_replayed_as_a_stream(tmp_path: Path) -> None:
    with gateway("", tmp_path) as gate:
        streams = [[chunk.model_dump() for chunk in gate.ask("Tell me.", f"0-aa-{n}", stream=True)] for n in (0, 1)]
        uses = [gate.account.settle(f"0-aa-{n}") for n in (0, 1)]
        counts = gate.account.summary()
    assert streams[0] == streams[1]
    assert len(streams[0]) > 2
    assert all(chunk["choices"] for chunk in streams[0])
    assert uses[0].tokens == uses[1].tokens != {}
    assert (counts.live, counts.cached) == (1, 1)


def test_a_stream_of_a_service_that_may_not_be_asked_is_said_to_be_uncounted(
    stand_in: StandInProcess, tmp_path: Path
) -> None:
    with gateway(stand_in.base_url, tmp_path) as gate:
        list(gate.ask("Tell me.", stream=True))
        assert gate.account.settle("0-aa-0").tokens == {}
        assert gate.account.summary().uncounted == 1


def test_calls_that_name_no_line_are_the_runs_and_are_not_taken_for_repeats(
    stand_in: StandInProcess, tmp_path: Path
) -> None:
    with gateway(stand_in.base_url, tmp_path) as gate:
        gate.ask("The same.", line="")
        gate.ask("The same.", line="")
        counts = gate.account.summary()
    assert (counts.live, counts.unattributed) == (2, 2)
    assert counts.spent_tokens > 0


def test_the_line_is_also_found_in_baggage(stand_in: StandInProcess, tmp_path: Path) -> None:
    with gateway(stand_in.base_url, tmp_path) as gate:
        client = gate.client.with_options(default_headers={"baggage": "a=b,x-llmops-line=0-aa-5;p=1"})
        client.embeddings.create(model="embed", input="text")
        assert gate.account.settle("0-aa-5").tokens["prompt"] > 0


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429, "headers": {"retry-after": "0"}, "times": 2},
        {"status": 503, "times": 2},
        {"status": 408, "times": 1},
        {"reset": True, "times": 2},
        {"truncate": 20, "times": 1},
        {"delay_ms": 50, "times": 1},
    ],
)
def test_a_passing_failure_is_not_seen_by_the_flow(
    stand_in: StandInProcess, tmp_path: Path, fault: Mapping[str, Any]
) -> None:
    with gateway(stand_in.base_url, tmp_path, **faults(fault)) as gate:
        assert gate.ask("Are you well?").choices[0].message.content
        counts = gate.account.summary()
    assert counts.retries == (0 if "delay_ms" in fault else fault["times"])
    assert (counts.live, counts.refused) == (1, 0)


@pytest.mark.parametrize(
    ("status", "error"), [(400, openai.BadRequestError), (401, openai.AuthenticationError), (404, openai.NotFoundError)]
)
def test_a_failure_that_cannot_pass_is_the_flows_to_see_and_is_not_tried_again(
    stand_in: StandInProcess, tmp_path: Path, status: int, error: type[Exception]
) -> None:
    with gateway(stand_in.base_url, tmp_path, **faults({"status": status})) as gate:
        with pytest.raises(error, match="a fault that was asked for"):
            gate.ask("Are you well?")
        assert gate.account.summary().retries == 0
        refusal = gate.account.settle("0-aa-0").refusal
        assert (refusal.type if refusal else None) == (None if status == 400 else "ModelAccess")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"status": 503}, "no answer after 4 tries: HTTP 503"),
        ({"status": 429, "headers": {"retry-after": "3600"}}, "the model asks to wait 3600 s: HTTP 429"),
    ],
)
def test_a_service_that_stays_away_leaves_the_line_unmeasured_with_an_error_that_no_client_repeats(
    stand_in: StandInProcess, tmp_path: Path, fault: Mapping[str, Any], reason: str
) -> None:
    with gateway(stand_in.base_url, tmp_path, **faults(fault)) as gate:
        with pytest.raises(openai.PermissionDeniedError) as caught:
            gate.ask("Are you well?")
        refusal = gate.account.settle("0-aa-0").refusal
    assert refusal is not None
    assert refusal.type == "ModelUnavailable"
    assert reason in refusal.message
    assert caught.value.response.headers["x-should-retry"] == "false"


def test_retries_of_a_run_have_an_end(stand_in: StandInProcess, tmp_path: Path) -> None:
    settings = {"faults": [{"status": 500}], "retries": Retries(per_call=5, per_run=1)}
    with gateway(stand_in.base_url, tmp_path, **settings) as gate:
        with pytest.raises(openai.PermissionDeniedError, match="retries are used up"):
            gate.ask("Are you well?")
        assert gate.account.settle("0-aa-0").refusal.type == "RetriesSpent"  # type: ignore[union-attr]


def test_a_quota_that_is_used_up_is_not_waited_for(stand_in: StandInProcess, tmp_path: Path) -> None:
    body = '{"error": {"code": "insufficient_quota", "message": "pay"}}'
    with gateway(stand_in.base_url, tmp_path, **faults({"status": 429, "body": body})) as gate:
        with pytest.raises(openai.RateLimitError):
            gate.ask("Are you well?")
        assert gate.account.summary().retries == 0


def test_a_stream_that_breaks_breaks_for_the_flow_and_leaves_the_line_unmeasured(tmp_path: Path) -> None:
    with gateway("", tmp_path, **faults({"truncate": 900})) as gate:
        with pytest.raises(Exception, match=r"Connection error|peer closed"):
            list(gate.ask("Tell me a long story.", stream=True))
        refusal = gate.account.settle("0-aa-0").refusal
    assert refusal is not None
    assert refusal.type == "StreamBroke"


def test_an_answer_that_is_no_json_reaches_the_flow_and_is_not_kept(stand_in: StandInProcess, tmp_path: Path) -> None:
    with (
        gateway(stand_in.base_url, tmp_path, **faults({"malformed": True})) as gate,
        pytest.raises(ValueError, match=r"Expecting|Unterminated|JSON"),
    ):
        gate.ask("Are you well?")
    with gateway(stand_in.base_url, tmp_path) as gate:
        assert gate.ask("Are you well?").choices[0].message.content


def test_a_budget_of_tokens_stops_before_the_next_call(stand_in: StandInProcess, tmp_path: Path) -> None:
    with gateway(stand_in.base_url, tmp_path, budget=Budget(tokens=30)) as gate:
        first = gate.ask("Question?").usage.total_tokens
        while gate.account.summary().spent_tokens < 30:
            gate.ask("Question?")
        with pytest.raises(openai.PermissionDeniedError, match="the budget of 30 tokens is spent"):
            gate.ask("One more?", "0-aa-1")
        assert gate.account.settle("0-aa-1").refusal.type == "BudgetSpent"  # type: ignore[union-attr]
        assert gate.account.summary().spent_tokens < 30 + first


def test_what_is_cached_is_free_of_the_budget(stand_in: StandInProcess, tmp_path: Path) -> None:
    with gateway(stand_in.base_url, tmp_path) as gate:
        gate.ask("Cheap?")
    with gateway(stand_in.base_url, tmp_path, budget=Budget(tokens=0)) as gate:
        assert gate.ask("Cheap?").choices
        with pytest.raises(openai.PermissionDeniedError):
            gate.ask("Dear?")


def test_a_budget_in_dollars_needs_the_price_of_the_model(stand_in: StandInProcess, tmp_path: Path) -> None:
    with gateway(stand_in.base_url, tmp_path, budget=Budget(usd=1.0)) as gate:
        with pytest.raises(openai.PermissionDeniedError, match="no price is configured for 'gpt-4o-mini'"):
            gate.ask("Dear?")
        assert gate.account.settle("0-aa-0").refusal.type == "PriceUnknown"  # type: ignore[union-attr]


def test_a_recording_answers_without_a_service_and_names_what_it_lacks(
    stand_in: StandInProcess, tmp_path: Path
) -> None:
    tape = tmp_path / "tape.jsonl"
    with gateway(stand_in.base_url, tmp_path, record=str(tape)) as gate:
        first = [gate.ask("One?"), gate.ask("Two?", "0-aa-1")]
        list(gate.ask("Three?", "0-aa-2", stream=True))
    with gateway("http://127.0.0.1:9", tmp_path, replay=str(tape)) as gate:
        again = [gate.ask("One?"), gate.ask("Two?", "0-aa-1")]
        assert len(list(gate.ask("Three?", "0-aa-2", stream=True))) > 1
        with pytest.raises(
            openai.PermissionDeniedError, match="no answer for POST /chat/completions of gpt-4o-mini: 'Four"
        ):
            gate.ask("Four? " + KEY)
        assert gate.account.settle("0-aa-0").refusal.type == "ReplayMiss"  # type: ignore[union-attr]
    assert [one.model_dump() for one in again] == [one.model_dump() for one in first]


def test_keys_are_in_no_file(stand_in: StandInProcess, tmp_path: Path) -> None:
    with gateway(stand_in.base_url, tmp_path, record=str(tmp_path / "tape.jsonl")) as gate:
        gate.ask(f"My key is {KEY}, is it not?")
        token = gate.account.token
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert KEY.encode() not in written
    assert token.encode() not in written


def test_a_worker_of_another_run_is_not_let_in(stand_in: StandInProcess, tmp_path: Path) -> None:
    with gateway(stand_in.base_url, tmp_path) as gate:
        stranger = openai.OpenAI(
            api_key="x", base_url=f"http://127.0.0.1:{gate.process.port}/other/my%20model", max_retries=0
        )
        with stranger, pytest.raises(openai.NotFoundError, match="no such run or connection"):
            stranger.models.list()


def test_the_gateway_goes_when_its_driver_is_killed() -> None:
    import subprocess
    import sys

    from tests.projects import is_running, wait_for

    program = (
        "import secrets, time\nfrom llmops.engine.gateway.process import GatewayProcess\n"
        "from llmops.engine.gateway.settings import GatewaySettings\n"
        "print(GatewayProcess(GatewaySettings(admin='x')).pid, flush=True)\ntime.sleep(600)\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert driver.stdout
    with driver.stdout as lines:
        pid = int(lines.readline())
        driver.kill()
        driver.wait()
    wait_for(lambda: not is_running(pid))
