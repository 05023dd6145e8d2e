from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmops.commands.schema import schema
from llmops.config.schema import ROOTS, schema_of
from llmops.errors import UsageError


def test_one_kind_is_printed_as_a_schema_and_all_as_one_document() -> None:
    lines: list[str] = []
    schema(write=lines.append, kind="experiment")
    schema(write=lines.append)
    assert json.loads(lines[0]) == schema_of("experiment")
    assert json.loads(lines[1]) == {kind: schema_of(kind) for kind in ROOTS}


def test_the_shipped_schemas_are_fresh() -> None:
    lines: list[str] = []
    assert schema(write=lines.append, check=True) == 0
    assert lines == ["The schemas are as they should be."]


def test_written_schemas_pass_the_check_and_changed_or_missing_ones_do_not(tmp_path: Path) -> None:
    schema(write=lambda _: None, output=tmp_path)
    assert schema(write=lambda _: None, check=True, folder=tmp_path) == 0
    (tmp_path / "experiment.schema.json").write_text("{}")
    (tmp_path / "environment.schema.json").unlink()
    with pytest.raises(UsageError) as error:
        schema(write=lambda _: None, check=True, folder=tmp_path)
    assert [problem.what for problem in error.value.problems] == [
        "is not the schema of this llmops",
        "there is no such schema",
    ]
