from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from llmops.commands.digest import digest
from llmops.errors import UsageError
from tests.flows.repository import DAG, IDENTITY, Repository, digest_of


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)
    repository = Repository(root=tmp_path)
    repository.write({"flows/qa/flow.dag.yaml": DAG, "flows/qa/answer.py": "import helper\n", "helper.py": ""})
    return repository


def run(repository: Repository, **options: Any) -> list[str]:
    lines: list[str] = []
    assert digest(root=repository.root, flow="flows/qa", write=lines.append, **options) == 0
    return lines


def test_one_line_says_the_digest(repository: Repository) -> None:
    assert run(repository) == [digest_of(repository)]


def test_files_lists_every_file_with_its_hash_and_origin(repository: Repository) -> None:
    expected: Mapping[str, tuple[str, bytes]] = {
        ".llmops/imported/helper.py": ("imported", b""),
        "answer.py": ("own     ", b"import helper\n"),
        "flow.dag.yaml": ("own     ", DAG.encode()),
    }
    lines = [f"{hashlib.sha256(body).hexdigest()}  {origin}  {name}" for name, (origin, body) in expected.items()]
    assert run(repository, files=True) == [digest_of(repository), *lines]


def test_json_says_everything(repository: Repository) -> None:
    document = json.loads("\n".join(run(repository, json_output=True)))
    assert document["files"][0] == {
        "name": ".llmops/imported/helper.py",
        "sha256": hashlib.sha256(b"").hexdigest(),
        "origin": "imported",
        "source": "helper.py",
    }
    head = {key: document[key] for key in ("flow", "kind", "commit", "digest", "import_roots", "notes")}
    expected = {"flow": "flows/qa", "kind": "dag", "commit": None, "digest": digest_of(repository)}
    assert head == {**expected, "import_roots": ["."], "notes": []}


def test_a_ref_gives_the_digest_of_the_flow_as_it_was_there(repository: Repository) -> None:
    before = run(repository)
    commit = repository.commit()
    repository.write({"helper.py": "changed = True\n"})
    assert run(repository) != before
    assert run(repository, ref="main") == before
    assert json.loads("\n".join(run(repository, ref="main", json_output=True)))["commit"] == commit


def test_a_file_that_could_not_be_parsed_is_noted(repository: Repository) -> None:
    repository.write({"flows/qa/answer.py": "import helper\nprint 'x'\n"})
    assert run(repository)[1:] == [
        "note: flows/qa/answer.py:2 cannot be parsed; what it imports is not part of the closure."
    ]


def test_an_unknown_flow_is_a_usage_error(repository: Repository) -> None:
    with pytest.raises(UsageError, match="no such flow folder"):
        digest(root=repository.root, flow=f"flows{os.sep}q", write=print)
