"""`llmops test --interactive` at a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.projects import DEADLINE_S, TinyProject, make_project

DAG = """\
inputs:
  chat_history: {type: list, is_chat_history: true}
  tone: {type: string}
  question: {type: string, is_chat_input: true}
outputs:
  answer: {type: string, is_chat_output: true, reference: "${talk.output}"}
nodes:
- name: talk
  type: python
  source: {type: code, path: talk.py}
  inputs: {question: "${inputs.question}", tone: "${inputs.tone}", chat_history: "${inputs.chat_history}"}
"""
TALK = """\
from promptflow.core import tool

@tool
def talk(question: str, tone: str, chat_history: list) -> str:
    if question == "fail":
        raise ValueError("asked to")
    before = [turn["inputs"]["question"] + "=" + turn["outputs"]["answer"] for turn in chat_history]
    return f"{len(before)} {tone} {question} {before}"
"""
MESSAGES = """\
class Talk:
    def __call__(self, question: str, chat_history: list) -> str:
        return "/".join(message["role"] + ":" + message["content"] for message in chat_history) or "nothing yet"
"""
STOP_OUTPUT, START_OUTPUT = "\x13", "\x11"
"""Ctrl-S and Ctrl-Q at a terminal."""


class Terminal:
    """The user's side of a pseudo-terminal."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._seen = ""

    def expect(self, pattern: str) -> str:
        """Read until the text matches; return what matched, and forget everything up to it."""
        deadline = time.monotonic() + DEADLINE_S
        while not (found := re.search(pattern, self._seen)):
            ready, _, _ = select.select([self._handle], [], [], 1.0)
            assert time.monotonic() < deadline, self._seen
            if ready:
                self._seen += os.read(self._handle, 4096).decode("utf-8", "replace")
        self._seen = self._seen[found.end() :]
        return found[0]

    def type(self, text: str) -> None:
        os.write(self._handle, text.encode())


@contextmanager
def talking(project: TinyProject, *arguments: str) -> Iterator[tuple[Terminal, subprocess.Popen[bytes]]]:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "llmops", "test", *arguments, "--interactive"]
    env = {**os.environ, "NO_COLOR": "1", "COLUMNS": "160", "TERM": "dumb"}
    process = subprocess.Popen(command, cwd=project.root, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        yield Terminal(ours), process
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.fixture
def project(tmp_path: Path) -> TinyProject:
    project = make_project(tmp_path)
    project.write("flows/chat/flow.dag.yaml", DAG)
    project.write("flows/chat/talk.py", TALK)
    return project


def test_a_chat_remembers_its_turns_and_asks_for_the_rest_once(project: TinyProject) -> None:
    with talking(project, "flows/chat") as (terminal, process):
        terminal.expect("tone: ")
        terminal.type("mild\n")
        for number, question in enumerate(("hello", "again")):
            terminal.expect("question: ")
            terminal.type(f"{question}\n")
            answer = terminal.expect(r'"answer": "\d.*"')
            assert answer.startswith(f'"answer": "{number} mild {question}')
        assert "hello=0 mild hello []" in answer
        terminal.expect("question: ")
        terminal.type("\x04")
        assert process.wait(timeout=60) == 0


def test_a_turn_that_failed_is_shown_and_not_remembered(project: TinyProject) -> None:
    with talking(project, "flows/chat", "--inputs", "tone=mild") as (terminal, _):
        terminal.expect("question: ")
        terminal.type("fail\n")
        terminal.expect("failed in node talk: ValueError: asked to")
        terminal.expect("question: ")
        terminal.type("\n")
        terminal.expect("question: ")
        terminal.type("hello\n")
        assert terminal.expect(r'"answer": "\d mild').endswith("0 mild")


def test_each_turn_shows_what_each_node_did(project: TinyProject) -> None:
    with talking(project, "flows/chat", "--inputs", "tone=mild") as (terminal, _):
        terminal.expect("question: ")
        terminal.type("hello\n")
        terminal.expect(r"node\s+status\s+seconds\s+inputs\s+output")
        terminal.expect(r"talk\s+Completed")


def test_flex_flows_have_a_history_of_messages(project: TinyProject) -> None:
    project.write("flows/talk/flow.flex.yaml", "entry: talk:Talk\n")
    project.write("flows/talk/talk.py", MESSAGES)
    with talking(project, "flows/talk") as (terminal, _):
        terminal.expect("question: ")
        terminal.type("hello\n")
        terminal.expect('"output": "nothing yet"')
        terminal.expect("question: ")
        terminal.type("again\n")
        terminal.expect('"output": "user:hello/assistant:nothing yet"')


def test_ctrl_c_ends_the_chat(project: TinyProject) -> None:
    with talking(project, "flows/chat", "--inputs", "tone=mild") as (terminal, process):
        terminal.expect("question: ")
        process.send_signal(2)
        assert process.wait(timeout=60) == 130


def test_ctrl_c_that_comes_before_the_wait_for_an_answer_is_not_missed(project: TinyProject) -> None:
    with talking(project, "flows/chat", "--inputs", "tone=mild") as (terminal, process):
        terminal.expect("question: ")
        terminal.type(f"{STOP_OUTPUT}\n")
        # The next prompt waits for the terminal now: what comes after it cannot have begun.
        time.sleep(1)
        process.send_signal(2)
        time.sleep(1)
        terminal.type(START_OUTPUT)
        assert process.wait(timeout=60) == 130
