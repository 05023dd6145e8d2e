"""Tokens belong to the line that asked, whatever the flow asks with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.projects import TinyProject, make_project

CALLABLE = """\
import asyncio, json, os, urllib.request

def body(question):
    return {"model": "m", "messages": [{"role": "user", "content": question}]}

def by_openai(question):
    import openai
    return openai.OpenAI().chat.completions.create(**body(question)).usage.total_tokens

async def by_async_openai(question):
    import openai
    answers = [openai.AsyncOpenAI().chat.completions.create(**body(question)) for _ in range(2)]
    return sum(answer.usage.total_tokens for answer in await asyncio.gather(*answers))

def by_requests(question):
    import requests
    url, key = os.environ["OPENAI_BASE_URL"] + "/chat/completions", os.environ["OPENAI_API_KEY"]
    answer = requests.post(url, json=body(question), headers={"Authorization": f"Bearer {key}"})
    return answer.json()["usage"]["total_tokens"]

def by_urllib(question):
    url, key = os.environ["OPENAI_BASE_URL"] + "/chat/completions", os.environ["OPENAI_API_KEY"]
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, data=json.dumps(body(question)).encode(), headers=headers)
    return json.load(urllib.request.urlopen(request))["usage"]["total_tokens"]
"""


@pytest.fixture
def project(tmp_path: Path) -> TinyProject:
    project = make_project(tmp_path)
    project.rows("one", "a much longer question than the others, which takes more tokens", "three")
    project.write("config/environments/local.yaml", "connections:\n  models: {type: stand_in}\n")
    project.write("asking/by.py", CALLABLE)
    project.write("asking/flow.flex.yaml", "entry: by:by_requests\n")
    return project


def run(project: TinyProject, flow: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    variables = {"OPENAI_BASE_URL": "${models.base_url}", "OPENAI_API_KEY": "${models.api_key}"}
    experiment = {"flow": flow, "datasets": {"rows": {"path": "rows.jsonl"}}, "environment_variables": variables}
    project.write("config/experiments/tiny.yaml", json.dumps(experiment))
    answer = project.run("run", "tiny", "--json")
    assert answer.code == 0, answer.err
    record = json.loads(answer.out)
    lines = (project.root / ".llmops/runs" / record["id"] / "lines.jsonl").read_text("utf-8").splitlines()
    return record, [json.loads(line) for line in lines]


@pytest.mark.parametrize("name", ["by_openai", "by_async_openai", "by_requests", "by_urllib"])
def test_a_callables_tokens_are_those_of_the_line_that_asked(project: TinyProject, name: str) -> None:
    record, lines = run(project, f"asking.by:{name}")
    assert [line["tokens"]["total"] for line in lines] == [line["outputs"]["output"] for line in lines]
    assert record["model_calls"]["unattributed"] == 0
    assert lines[1]["tokens"]["total"] > lines[0]["tokens"]["total"]


def test_so_are_those_of_a_flex_flow_that_asks_without_the_openai_client(project: TinyProject) -> None:
    record, lines = run(project, "asking")
    assert [line["tokens"]["total"] for line in lines] == [line["outputs"]["output"] for line in lines]
    assert record["model_calls"]["unattributed"] == 0


def test_what_is_asked_of_others_carries_nothing(project: TinyProject) -> None:
    project.write("asking/by.py", LOOKING)
    _, lines = run(project, "asking/by.py:by_requests")
    assert {line["outputs"]["output"] for line in lines} == {"no line"}


LOOKING = """\
import threading, urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

class Other(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.headers.get("x-llmops-line", "no line").encode())

    def log_message(self, *_):
        pass

server = HTTPServer(("127.0.0.1", 0), Other)
threading.Thread(target=server.serve_forever, daemon=True).start()

def by_requests(question):
    return urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}").read().decode()
"""
