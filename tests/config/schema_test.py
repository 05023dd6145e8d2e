from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from llmops.config import schema

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


@pytest.mark.parametrize("kind", schema.ROOTS)
def test_committed_schema_is_the_generated_one(kind: str) -> None:
    committed = (schema.SCHEMAS / f"{kind}.schema.json").read_text(encoding="utf-8")
    assert committed == schema.schema_text(kind), "run python -m llmops.config.schema"


def test_documented_keys_are_those_of_the_schemas() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == schema.with_key_tables(page), "run python -m llmops.config.schema"
    assert all(f"<!-- keys: {kind} -->" in page for kind in schema.ROOTS)


@pytest.mark.parametrize("kind", schema.ROOTS)
def test_schema_is_valid_by_its_own_draft(kind: str) -> None:
    assert schema.schema_of(kind)["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema.schema_of(kind))


def test_field_becomes_a_property_with_description_keywords_and_default() -> None:
    assert schema.schema_of("experiment")["properties"]["concurrency"] == {
        "type": "integer",
        "description": "Lines in flight at once.",
        "minimum": 1,
        "maximum": 1024,
        "default": 16,
    }


def test_field_without_default_is_required() -> None:
    assert schema.schema_of("experiment")["required"] == ["flow", "datasets"]


def test_optional_number_is_a_number_and_not_null() -> None:
    threshold = schema.schema_of("experiment")["properties"]["gate"]["properties"]["thresholds"]["items"]
    assert threshold["properties"]["min"] == {"type": "number", "description": "Smallest allowed value."}


def test_overrides_take_keys_of_an_experiment_and_demand_none_of_them() -> None:
    part = schema.schema_of("environment")["properties"]["overrides"]["additionalProperties"]
    assert set(schema.schema_of("experiment")["properties"]) - set(part["properties"]) == {
        "name",
        "flow",
        "environment",
    }
    assert "required" not in part
    assert "required" not in part["properties"]["evaluators"]["additionalProperties"]


def test_entries_of_lists_keep_their_required_keys_in_overrides() -> None:
    part = schema.schema_of("environment")["properties"]["overrides"]["additionalProperties"]
    assert part["properties"]["gate"]["properties"]["thresholds"]["items"]["required"] == ["metric"]


def test_rewriting_mends_a_stale_page(tmp_path: Path) -> None:
    page = tmp_path / "configuration.md"
    page.write_text("# Keys\n<!-- keys: experiment -->\nstale\n<!-- end -->\nmore\n", encoding="utf-8")
    schema.rewrite(page)
    text = page.read_text(encoding="utf-8")
    assert "| `gate.thresholds[].min` | number |  | Smallest allowed value. |" in text
    assert "stale" not in text
    assert text.endswith("<!-- end -->\nmore\n")


def test_schema_text_is_json_that_ends_with_a_line_end() -> None:
    assert json.loads(schema.schema_text("environment")) == schema.schema_of("environment")
    assert schema.schema_text("environment").endswith("}\n")
