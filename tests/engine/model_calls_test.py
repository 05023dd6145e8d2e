"""What the model gateway does for whole runs: through the command line, with the real LLM tool and client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmops.engine.standin.process import StandInProcess
from tests.conformance.echo import serve_echo
from tests.projects import TinyProject, make_project

TWO_NODES = """\
inputs:
  question: {type: string}
outputs:
  answer: {type: string, reference: "${classify.output}"}
nodes:
- name: summarise
  type: llm
  source: {type: code, path: summarise.jinja2}
  inputs: {model: gpt-4o-mini, question: "${inputs.question}"}
  connection: models
  api: chat
- name: classify
  type: llm
  source: {type: code, path: classify.jinja2}
  inputs: {model: gpt-4o-mini, text: "${summarise.output}"}
  connection: models
  api: chat
"""
CONNECTION = "connections:\n  models: {type: open_ai, api_key: '${env:MY_KEY}', base_url: '${env:MY_URL}'}\n"
PRICES = "prices:\n  gpt-4o-mini: {prompt: 1000, completion: 2000, as_of: 2026-05-01}\n"
ROWS = 6


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandInProcess]:
    with StandInProcess() as process:
        yield process


@pytest.fixture
def env(stand_in: StandInProcess) -> dict[str, str]:
    stand_in.reset_stats()
    return {"MY_KEY": "sk-a-key-of-this-test", "MY_URL": stand_in.base_url}


@pytest.fixture
def project(tmp_path: Path) -> TinyProject:
    project = make_project(tmp_path / "project")
    project.write("flows/answer/flow.dag.yaml", TWO_NODES)
    project.write("flows/answer/summarise.jinja2", "# system:\nSummarise in one sentence.\n# user:\n{{question}}\n")
    project.write("flows/answer/classify.jinja2", "# system:\nAnswer with one of: yes, no.\n# user:\n{{text}}\n")
    project.replace("config/experiments/tiny.yaml", "min: 0.8", "min: 0")
    project.write("config/environments/local.yaml", CONNECTION + PRICES)
    project.rows(*(f"Is number {n} the right one?" for n in range(ROWS)))
    return project


def run(project: TinyProject, *arguments: str, env: dict[str, str]) -> dict[str, Any]:
    answer = project.run("run", "tiny", "--json", *arguments, env=env)
    assert answer.code == 0, answer.err
    return dict(json.loads(answer.out))


def lines(project: TinyProject, record: dict[str, Any]) -> list[dict[str, Any]]:
    text = (project.root / ".llmops/runs" / record["id"] / "lines.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_a_change_of_the_second_prompt_makes_no_first_call(
    project: TinyProject, stand_in: StandInProcess, env: dict[str, str]
) -> None:
    project.commit()
    assert project.run("check", env=env).code == 0
    assert stand_in.stats().calls == 2 * ROWS
    project.replace("flows/answer/classify.jinja2", "yes, no", "no, yes, perhaps")
    answer = project.run("check", "--baseline", "HEAD", env=env)
    assert answer.code in {0, 10}, answer.err
    assert stand_in.stats().calls == 3 * ROWS
    assert f"model calls of candidate: {ROWS} live, {ROWS} from the call cache" in answer.out


def test_candidate_and_baseline_share_the_calls_that_are_the_same(
    project: TinyProject, stand_in: StandInProcess, env: dict[str, str]
) -> None:
    project.commit()
    project.replace("flows/answer/classify.jinja2", "yes, no", "no, yes, perhaps")
    assert project.run("check", "--baseline", "HEAD", env=env).code in {0, 10}
    assert stand_in.stats().calls == 3 * ROWS


def test_tokens_and_cost_are_each_lines_own_and_the_record_has_their_sums(
    project: TinyProject, stand_in: StandInProcess, env: dict[str, str]
) -> None:
    record = run(project, env=env)
    stats = stand_in.stats()
    assert record["tokens"] == {
        "prompt": stats.prompt_tokens,
        "completion": stats.completion_tokens,
        "total": stats.prompt_tokens + stats.completion_tokens,
    }
    expected = (stats.prompt_tokens * 1000 + stats.completion_tokens * 2000) / 1e6
    assert record["cost_usd"] == pytest.approx(expected)
    assert record["model_calls"]["spent_usd"] == pytest.approx(expected)
    assert sum(line["cost_usd"] for line in lines(project, record)) == pytest.approx(expected)
    assert all(line["tokens"]["total"] > 0 for line in lines(project, record))
    assert record["model_calls"]["unattributed"] == 0


def test_a_run_from_the_cache_still_knows_what_it_cost(project: TinyProject, env: dict[str, str]) -> None:
    first = run(project, env=env)
    again = run(project, env=env)
    assert again["cached"] == ROWS
    assert (again["tokens"], again["cost_usd"]) == (first["tokens"], first["cost_usd"])


def test_the_stand_in_is_called_one_whatever_the_type_of_its_connection(
    project: TinyProject, env: dict[str, str]
) -> None:
    first = run(project, env=env)
    again = run(project, env=env)
    assert (first["stand_in"], again["stand_in"], again["cached"]) == (True, True, ROWS)


def test_another_model_is_not_called_the_stand_in(project: TinyProject, env: dict[str, str]) -> None:
    with serve_echo() as address:
        record = run(project, env={**env, "MY_URL": f"{address}/first"})
    assert (record["completed"], record["stand_in"]) == (ROWS, False)


def test_an_estimate_calls_nobody_and_says_how_it_knows(
    project: TinyProject, stand_in: StandInProcess, env: dict[str, str]
) -> None:
    before = project.run("run", "tiny", "--estimate", env=env)
    assert before.code == 0, before.err
    assert "counted: prompt templates and rows of 2 LLM nodes" in before.out
    assert stand_in.stats().calls == 0
    record = run(project, env=env)
    after = json.loads(project.run("run", "tiny", "--estimate", "--json", "--repeat", "3", env=env).out)
    assert after["prompt_tokens"] + after["completion_tokens"] == pytest.approx(2 * record["tokens"]["total"], abs=2)
    assert after["cost_usd"] == pytest.approx(2 * record["cost_usd"])
    assert after["basis"].startswith(f"from the run {record['id']}")


def test_an_estimate_takes_off_the_lines_that_are_there_already(project: TinyProject, env: dict[str, str]) -> None:
    record = run(project, env=env)
    project.rows(*(f"Is number {n} the right one?" for n in range(ROWS + 3)))
    found = json.loads(project.run("run", "tiny", "--estimate", "--json", env=env).out)
    assert (found["lines"], found["cached"]) == (ROWS + 3, ROWS)
    assert found["cost_usd"] == pytest.approx(record["cost_usd"] * 3 / ROWS)
    assert f"{ROWS + 3} lines, {ROWS} of them cached: about" in project.run("run", "tiny", "--estimate", env=env).out


def test_repeats_are_calls_of_their_own(project: TinyProject, stand_in: StandInProcess, env: dict[str, str]) -> None:
    run(project, env=env)
    run(project, "--repeat", "3", env=env)
    assert stand_in.stats().calls == 3 * 2 * ROWS


def test_a_recording_replays_without_network_and_without_keys(
    project: TinyProject, stand_in: StandInProcess, env: dict[str, str], tmp_path: Path
) -> None:
    tape = str(tmp_path / "tape.jsonl")
    first = run(project, "--record", tape, env=env)
    calls = stand_in.stats().calls
    again = run(project, env={"LLMOPS_REPLAY": tape, "MY_URL": "http://127.0.0.1:9"})
    assert again["id"] != first["id"]
    assert again["lines_digest"] == first["lines_digest"]
    assert again["model_calls"]["replayed"] == 2 * ROWS
    assert stand_in.stats().calls == calls
    assert b"sk-a-key" not in Path(tape).read_bytes()


def test_recording_what_is_cached_has_all_calls_and_pays_for_none(
    project: TinyProject, stand_in: StandInProcess, env: dict[str, str], tmp_path: Path
) -> None:
    run(project, env=env)
    calls = stand_in.stats().calls
    run(project, "--record", str(tmp_path / "tape.jsonl"), env=env)
    assert stand_in.stats().calls == calls
    assert len((tmp_path / "tape.jsonl").read_text(encoding="utf-8").splitlines()) == 1 + 2 * ROWS


def test_a_replay_that_lacks_an_answer_names_prompt_and_row_and_calls_nobody(
    project: TinyProject, stand_in: StandInProcess, env: dict[str, str], tmp_path: Path
) -> None:
    tape = str(tmp_path / "tape.jsonl")
    run(project, "--record", tape, env=env)
    calls = stand_in.stats().calls
    project.rows("Is number 0 the right one?", "Is this one new?")
    answer = project.run("check", "--replay", tape, env=env)
    assert answer.code == 2
    assert "the recording does not fit this run: 1 lines asked what it has no answer for" in answer.err
    assert (
        "row 1: the recording has no answer for POST /chat/completions of gpt-4o-mini: 'Is this one new?'" in answer.err
    )
    assert stand_in.stats().calls == calls


def test_a_budget_stops_the_run_and_leaves_the_rest_unmeasured(
    project: TinyProject, stand_in: StandInProcess, env: dict[str, str]
) -> None:
    project.write(
        "config/experiments/tiny.yaml",
        (project.root / "config/experiments/tiny.yaml").read_text(encoding="utf-8") + "budget: {tokens: 100}\n",
    )
    record = run(project, "--concurrency", "1", env=env)
    assert record["completed"] + record["unmeasured"] == ROWS
    assert record["unmeasured"] > 0
    stats = stand_in.stats()
    spent = stats.prompt_tokens + stats.completion_tokens
    assert 100 <= spent < 100 + spent / stats.calls * 1.5
    errors = [line["error"] for line in lines(project, record) if line["status"] == "unmeasured"]
    assert errors[0]["type"] == "BudgetSpent"
    assert errors[0]["message"].startswith("the budget of 100 tokens is spent")


def test_a_flow_that_swallows_a_refusal_is_unmeasured_all_the_same(project: TinyProject, env: dict[str, str]) -> None:
    project.write(
        "flows/answer/flow.dag.yaml",
        'inputs:\n  question: {type: string}\noutputs:\n  answer: {type: string, reference: "${ask.output}"}\nnodes:\n'
        "- name: ask\n  type: python\n  source: {type: code, path: ask.py}\n"
        '  inputs: {connection: models, question: "${inputs.question}"}\n',
    )
    project.write(
        "flows/answer/ask.py",
        "import openai\nfrom promptflow.connections import OpenAIConnection\nfrom promptflow.core import tool\n\n\n@tool\n"
        "def ask(connection: OpenAIConnection, question: str) -> str:\n"
        "    client = openai.OpenAI(api_key=connection.api_key, base_url=connection.base_url)\n"
        "    try:\n        messages = [{'role': 'user', 'content': question}]\n"
        "        return client.chat.completions.create(model='m', messages=messages).choices[0].message.content\n"
        "    except openai.OpenAIError:\n        return 'I do not know'\n",
    )
    rules = project.write("faults.json", json.dumps([{"match": "number 1", "status": 503}]))
    project.write("config/environments/local.yaml", CONNECTION + "retries: {per_call: 0}\n")
    record = run(project, "--faults", str(rules), env=env)
    assert (record["completed"], record["unmeasured"]) == (ROWS - 1, 1)


def test_a_flow_never_has_the_key_not_even_in_its_environment(project: TinyProject, env: dict[str, str]) -> None:
    node = "- name: look\n  type: python\n  source: {type: code, path: look.py}\n  inputs: {connection: models}\n"
    project.write("flows/answer/flow.dag.yaml", TWO_NODES.replace("${classify.output}", "${look.output}") + node)
    project.write(
        "flows/answer/look.py",
        "import os\nfrom promptflow.connections import OpenAIConnection\nfrom promptflow.core import tool\n\n\n@tool\n"
        "def look(connection: OpenAIConnection) -> str:\n"
        "    seen = [*os.environ.values(), connection.api_key]\n"
        "    return 'seen' if any('sk-a-key' in text for text in seen) else 'not seen'\n",
    )
    record = run(project, env=env)
    assert {line["outputs"]["answer"] for line in lines(project, record)} == {"not seen"}


def test_what_the_gateway_tries_again_the_flow_never_sees(project: TinyProject, env: dict[str, str]) -> None:
    rules = [{"status": 429, "headers": {"retry-after": "0"}, "times": 4}, {"reset": True, "times": 2}]
    path = project.write("faults.json", json.dumps(rules))
    record = run(project, "--faults", str(path), env=env)
    assert (record["completed"], record["model_calls"]["retries"]) == (ROWS, 6)
    assert record["model_calls"]["concurrency"]
    (log,) = (project.root / ".llmops/logs").glob("answer-*.log")
    assert "429" not in log.read_text(encoding="utf-8")


def test_a_limited_model_fails_no_row(project: TinyProject) -> None:
    settings = "connections:\n  models: {type: stand_in}\nstand_in: {calls_per_second: 2}\n"
    project.write("config/environments/local.yaml", settings)
    project.rows(*(f"Is number {n} the right one?" for n in range(8)))
    record = run(project, env={})
    assert (record["completed"], record["stand_in"]) == (8, True)
    assert record["model_calls"]["retries"] > 0
    assert record["model_calls"]["calls_per_second"]["gpt-4o-mini"] > 0


def test_the_gateway_ending_early_leaves_rows_unmeasured_or_is_an_error_but_never_a_pass(project: TinyProject) -> None:
    import os
    import signal

    from tests.projects import wait_for

    project.write(
        "config/environments/local.yaml", "connections:\n  models: {type: stand_in}\nstand_in: {latency_ms: 3000}\n"
    )
    process = project.start("check")

    def children() -> list[int]:
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if (
                    b"llmops.engine.gateway" in path.read_bytes()
                    and f"\nPPid:\t{process.pid}\n" in (path.parent / "status").read_text()
                ):
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return found

    wait_for(lambda: bool(children()))
    os.kill(children()[0], signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode in {4, 11}


def test_neither_record_nor_replay_is_half_meant(project: TinyProject, env: dict[str, str], tmp_path: Path) -> None:
    answer = project.run("run", "tiny", "--replay", str(tmp_path / "none.jsonl"), env=env)
    assert (answer.code, "the recording cannot be read" in answer.err) == (2, True)
    both = project.run("run", "tiny", "--replay", "a", "--record", "b", env=env)
    assert (both.code, "a run is either recorded or replayed" in both.err) == (2, True)
