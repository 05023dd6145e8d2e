"""Model calls from end to end: the real LLM tool, the real openai client, the stand-in over HTTP."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmops.engine.standin.process import StandInProcess
from tests.projects import TinyProject, make_project

FLOW = """\
inputs:
  question: {type: string}
outputs:
  answer: {type: string, reference: "${ask.output}"}
nodes:
- name: ask
  type: llm
  source: {type: code, path: ask.jinja2}
  inputs: {model: gpt-4o-mini, temperature: 0, question: "${inputs.question}"}
  connection: open_ai_connection
  api: chat
"""
PROMPT = "# system:\nAnswer with one of: yes, no.\n# user:\n{{question}}\n"
SECRET = "sk-very-secret-value-1234567890"  # noqa: S105 a made-up value that must not leak


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandInProcess]:
    with StandInProcess() as process:
        yield process


@pytest.fixture
def project(tmp_path: Path) -> TinyProject:
    project = make_project(tmp_path / "project")
    project.write("flows/answer/flow.dag.yaml", FLOW)
    project.write("flows/answer/ask.jinja2", PROMPT)
    project.replace("config/experiments/tiny.yaml", "min: 0.8", "min: 0")
    connection = (
        "connections:\n  open_ai_connection: {type: open_ai, api_key: '${env:MY_KEY}', base_url: '${env:MY_URL}'}\n"
    )
    project.write("config/environments/local.yaml", connection)
    return project


def settings(url: str) -> dict[str, str]:
    return {"MY_KEY": SECRET, "MY_URL": url}


def test_a_changed_address_in_the_environment_reaches_the_model_and_a_second_check_makes_no_call(
    project: TinyProject, stand_in: StandInProcess
) -> None:
    stand_in.reset_stats()
    assert project.run("check", env=settings(stand_in.base_url)).code == 0
    assert stand_in.stats().calls == 20
    assert project.run("check", env=settings(stand_in.base_url)).code == 0
    assert stand_in.stats().calls == 20


def test_no_key_is_written_anywhere(project: TinyProject, stand_in: StandInProcess) -> None:
    project.write("flows/answer/ask.jinja2", PROMPT.replace("yes, no", "yes, no, perhaps"))
    project.write(
        "flows/score/grade.py",
        "from promptflow.core import tool\n\n\n@tool\ndef grade(expected: str, answer: str) -> int:\n    return 1\n",
    )
    answer = project.run("check", env=settings(stand_in.base_url))
    written = [path.read_bytes() for path in (project.root / ".llmops").rglob("*") if path.is_file()]
    assert answer.code == 0
    assert not any(SECRET.encode() in content for content in written)
    assert SECRET not in answer.out + answer.err


def test_a_key_that_a_flow_prints_or_raises_is_blanked(project: TinyProject, stand_in: StandInProcess) -> None:
    node = "- name: leak\n  type: python\n  source: {type: code, path: leak.py}\n  inputs: {connection: open_ai_connection}\n"
    project.write("flows/answer/flow.dag.yaml", FLOW + node)
    project.write(
        "flows/answer/leak.py",
        "from promptflow.connections import OpenAIConnection\nfrom promptflow.core import tool\n\n\n@tool\n"
        "def leak(connection: OpenAIConnection) -> str:\n    print(connection.api_key)\n"
        "    raise ValueError('key ' + connection.api_key)\n",
    )
    answer = project.run("check", env=settings(stand_in.base_url))
    written = b"".join(path.read_bytes() for path in (project.root / ".llmops").rglob("*") if path.is_file())
    assert answer.code == 10
    assert b"key ***" in written or "key ***" in answer.out
    assert SECRET.encode() not in written


def test_a_model_that_nobody_answers_for_is_exit_code_4_before_any_line(project: TinyProject) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    answer = project.run("check", env=settings(address))
    assert answer.code == 4
    assert "connection 'open_ai_connection': the model service cannot be reached" in answer.err
    assert not (project.root / ".llmops/verdicts").exists()


def test_a_missing_key_is_named_and_never_shown(project: TinyProject) -> None:
    answer = project.run("check", env={"MY_URL": "http://127.0.0.1:9/v1"})
    assert answer.code == 2
    assert "the environment variable MY_KEY is not set" in answer.err


def test_a_flow_that_names_an_unknown_connection_is_told_which_there_are(project: TinyProject) -> None:
    project.replace("flows/answer/flow.dag.yaml", "open_ai_connection", "open_ai_conection")
    answer = project.run("check", env=settings("http://127.0.0.1:9/v1"))
    assert answer.code == 2
    assert "the environment 'local' has no connection 'open_ai_conection'" in answer.err
    assert "did you mean 'open_ai_connection'?" in answer.err


def test_a_model_that_goes_away_leaves_rows_unmeasured_and_the_next_check_asks_again(
    project: TinyProject, tmp_path: Path
) -> None:
    project.write("config/environments/local.yaml", "connections:\n  open_ai_connection: {type: stand_in}\n")
    project.write(
        "flows/answer/flow.dag.yaml",
        FLOW + "- name: gone\n  type: python\n  source: {type: code, path: gone.py}\n  inputs: {}\n",
    )
    flag = tmp_path / "flag"
    project.write(
        "flows/answer/gone.py",
        "import os\nimport httpx\nimport openai\nfrom promptflow.core import tool\n\n\n@tool\ndef gone() -> str:\n"
        f"    if not os.path.exists({str(flag)!r}):\n"
        "        raise openai.APIConnectionError(request=httpx.Request('GET', 'http://127.0.0.1'))\n    return 'here'\n",
    )
    code, verdict = project.check()
    assert (code, verdict["candidate"]["unmeasured"], verdict["candidate"]["failed"]) == (11, 20, 0)
    flag.touch()
    code, verdict = project.check()
    assert (code, verdict["candidate"]["unmeasured"]) == (0, 0)
