from __future__ import annotations

from collections.abc import Callable

import pytest

from llmops.flows.changes import Change, compare, read_state
from llmops.flows.commit import CommitTree
from llmops.flows.tree import WorkingTree
from tests.flows.repository import Repository

FLOW = """\
inputs:
  question: {type: string}
outputs:
  answer: {type: string, reference: "${ask.output}"}
nodes:
- name: ask
  use_variants: true
- name: keep
  type: python
  source: {type: code, path: keep.py}
  inputs: {text: "${ask.output}"}
node_variants:
  ask:
    default_variant_id: short
    variants:
      short:
        node:
          type: llm
          source: {type: code, path: ask.jinja2}
          inputs: {model: gpt-4o-mini, temperature: 0, question: "${inputs.question}"}
          connection: model
          api: chat
"""
PROMPTY = (
    "---\nmodel:\n  configuration: {type: openai, model: gpt-4o-mini}\n  parameters: {temperature: 0}\n---\nuser:\nHi\n"
)
FILES = {
    "flows/qa/flow.dag.yaml": FLOW,
    "flows/qa/answer.py": "",
    "flows/qa/ask.jinja2": "user:\nAnswer.\n{{question}}\n",
    "flows/qa/keep.py": "def keep(text):\n    return text\n",
    "flows/qa/requirements.txt": "promptflow-core\n",
    "flows/hi/hi.prompty": PROMPTY,
}


@pytest.fixture
def changed(repository: Repository) -> Callable[..., list[str]]:
    repository.write(FILES)
    commit = repository.commit()

    def change(path: str, old: str, new: str, flow: str = "flows/qa") -> list[str]:
        repository.write({path: (repository.root / path).read_text(encoding="utf-8").replace(old, new)})
        return [str(item) for item in changes(repository, commit, flow)]

    return change


def changes(repository: Repository, commit: str, flow: str = "flows/qa") -> list[Change]:
    with CommitTree(repository.root, commit) as old:
        return compare(read_state(old, flow), read_state(WorkingTree(repository.root), flow))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("gpt-4o-mini", "gpt-4o", "node ask (short): model: gpt-4o-mini → gpt-4o"),
        ("temperature: 0", "temperature: 0.7", "node ask (short): temperature: 0 → 0.7"),
        ("temperature: 0", "temperature: 0, top_p: 1", "node ask (short): top_p added: 1"),
        ("connection: model", "connection: other", "node ask (short): connection: model → other"),
        ("default_variant_id: short", "default_variant_id: long", "node ask: variant default: short → long"),
        ("{type: string}", "{type: string, default: Why?}", "input question: string → string = Why?"),
        ("keep.py", "answer.py", "node keep: tool file: keep.py → answer.py"),
        ("api: chat", "api: completion", "node ask (short): api: chat → completion"),
    ],
)
def test_a_change_is_told_with_its_node_and_from_what_to_what(
    changed: Callable[..., list[str]], old: str, new: str, expected: str
) -> None:
    assert expected in changed("flows/qa/flow.dag.yaml", old, new)


def test_a_prompt_is_told_with_a_diff_of_its_text(repository: Repository) -> None:
    repository.write(FILES)
    commit = repository.commit()
    repository.write({"flows/qa/ask.jinja2": "user:\nAnswer in one word.\n{{question}}\n"})
    (change,) = changes(repository, commit)
    assert (change.subject, change.aspect, change.name) == ("node ask (short)", "prompt", "ask.jinja2")
    assert change.diff == "@@ -1,3 +1,3 @@\n user:\n-Answer.\n+Answer in one word.\n {{question}}"


def test_code_packages_and_other_files_are_told(changed: Callable[..., list[str]]) -> None:
    assert changed("flows/qa/keep.py", "return text", "return text.strip()") == [
        "node keep: tool keep.py changed (+1 -1 lines)"
    ]
    assert "packages requirements.txt changed (+1 -1 lines)" in changed("flows/qa/requirements.txt", "core", "core>1")


def test_a_prompty_file_is_compared_by_model_settings_and_prompt(changed: Callable[..., list[str]]) -> None:
    path = "flows/hi/hi.prompty"
    assert changed(path, "gpt-4o-mini", "gpt-4o", flow="flows/hi") == [
        "model.configuration.model: gpt-4o-mini → gpt-4o"
    ]
    assert changed(path, "temperature: 0", "temperature: 1", flow="flows/hi")[1:] == [
        "model.parameters.temperature: 0 → 1"
    ]
    assert changed(path, "\nHi\n", "\nHello\n", flow="flows/hi")[2:] == ["prompt hi.prompty changed (+1 -1 lines)"]


def test_a_flow_that_came_or_went_is_one_change(repository: Repository) -> None:
    repository.write(FILES)
    state = read_state(WorkingTree(repository.root), "flows/qa")
    assert [str(item) for item in compare(None, state)] == ["the flow added: flows/qa"]
    assert [str(item) for item in compare(state, None)] == ["the flow removed (was flows/qa)"]
    assert compare(state, state) == []
