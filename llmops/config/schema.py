"""JSON Schemas (draft 2020-12) of the configuration files, generated from `model.py`.

`python -m llmops.config.schema` rewrites the committed schemas and, in a checkout, the key tables of
`docs/configuration.md`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from llmops.config.model import Environment, Experiment, PartOf

Schema = dict[str, Any]

SCHEMAS = Path(__file__).parent / "schemas"
"""Folder of the committed schemas."""

ROOTS: Mapping[str, type] = {"experiment": Experiment, "environment": Environment}
"""File kind to the class that it configures."""

_SCALARS: Mapping[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    Any: {},
}


@functools.cache
def schema_of(kind: str) -> Schema:
    """Generate the schema of one kind of file; do not change what is returned.

    Args:
        kind: `experiment` or `environment`.
    """
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"llmops {kind}"}
    return {**head, **object_schema(ROOTS[kind])}


def object_schema(cls: type) -> Schema:
    """Generate the schema of one configurable class."""
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = dataclasses.fields(cls)
    schema: Schema = {
        "description": (cls.__doc__ or "").partition("\n")[0],
        "type": "object",
        "properties": {field.name: _property(hints[field.name], field) for field in fields},
        "additionalProperties": False,
    }
    required = [field.name for field in fields if _is_required(field)]
    return {**schema, "required": required} if required else schema


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _property(hint: Any, field: dataclasses.Field[Any]) -> Schema:
    schema = {**_type(hint), "description": field.metadata["doc"], **field.metadata["schema"]}
    if isinstance(field.default, (bool, int, float)) or (isinstance(field.default, str) and field.default):
        schema["default"] = field.default
    return schema


def _type(hint: Any) -> Schema:
    if hint in _SCALARS:
        return dict(_SCALARS[hint])
    if dataclasses.is_dataclass(hint):
        return object_schema(typing.cast("type", hint))
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _part(arguments[1])
    if origin is Literal:
        return {"type": "string", "enum": list(arguments)}
    if origin in (typing.Union, types.UnionType):
        return _type(next(argument for argument in arguments if argument is not type(None)))
    if issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _type(arguments[1])}
    if issubclass(origin, Sequence):
        return {"type": "array", "items": _type(arguments[0])}
    raise TypeError(f"no JSON Schema for {hint}")


def _part(part: PartOf) -> Schema:
    schema = _without_demands(object_schema(part.cls))
    schema["properties"] = {key: value for key, value in schema["properties"].items() if key not in part.without}
    schema["description"] = f"Any keys of an {part.cls.__name__.lower()} except {', '.join(part.without)}."
    return schema


def _without_demands(schema: Schema) -> Schema:
    kept = {key: value for key, value in schema.items() if key not in ("required", "minProperties", "default")}
    if "properties" in kept:
        kept["properties"] = {key: _without_demands(value) for key, value in kept["properties"].items()}
    if isinstance(kept.get("additionalProperties"), dict):
        kept["additionalProperties"] = _without_demands(kept["additionalProperties"])
    return kept


def schema_text(kind: str) -> str:
    """Return the schema as it is committed."""
    return json.dumps(schema_of(kind), indent=2, ensure_ascii=False) + "\n"


class Key(typing.NamedTuple):
    """One key of a configuration file, for the tables of the documentation.

    Attributes:
        path: for instance `evaluators.<name>.flow` or `gate.thresholds[].min`.
        type: in words, or the allowed values.
        default: `required`, or the default as it would be written; empty when there is none.
    """

    path: str
    type: str
    default: str
    doc: str


def list_keys(kind: str) -> Sequence[Key]:
    """List all keys of one kind of file in the order of the schema, parents before children."""
    return tuple(_keys(schema_of(kind), ""))


def _keys(schema: Schema, prefix: str) -> Iterator[Key]:
    for name, value in schema.get("properties", {}).items():
        yield _key(f"{prefix}{name}", value, is_required=name in schema.get("required", ()))
        if name != "overrides":
            yield from _keys(value, f"{prefix}{name}.")
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        yield from _keys(extra, f"{prefix}<name>.")
    if "items" in schema:
        yield from _keys(schema["items"], f"{prefix[:-1]}[].")


def _key(path: str, schema: Schema, *, is_required: bool) -> Key:
    allowed = ", ".join(f"`{value}`" for value in schema.get("enum", ()))
    written = f"`{json.dumps(schema['default'])}`" if "default" in schema else ""
    kinds = {
        "object": "mapping",
        "array": "list",
        "string": "text",
        "integer": "whole number",
        "boolean": "true, false",
    }
    type_ = allowed or kinds.get(str(schema.get("type")), "number" if "type" in schema else "any")
    return Key(path, type_, "required" if is_required else written, schema.get("description", ""))


def key_table(kind: str) -> str:
    """Return the keys of one kind of file as a Markdown table."""
    return table_of(list_keys(kind))


def class_table(cls: type) -> str:
    """Return the keys of a configurable class as a Markdown table."""
    return table_of(tuple(_keys(object_schema(cls), "")))


def table_of(keys: Sequence[Key]) -> str:
    """Write keys as a Markdown table."""
    head = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    rows = [f"| `{key.path}` | {key.type} | {key.default} | {key.doc} |" for key in keys]
    return "\n".join([*head, *rows])


def with_key_tables(page: str) -> str:
    """Replace what stands between `<!-- keys: KIND -->` and `<!-- end -->` by the table of that kind."""
    for kind in ROOTS:
        start = f"<!-- keys: {kind} -->\n"
        before, found, rest = page.partition(start)
        if found:
            page = f"{before}{start}{key_table(kind)}\n<!-- end -->{rest.partition('<!-- end -->')[2]}"
    return page


def rewrite(page: Path) -> None:
    """Rewrite the committed schemas and, if it exists, the documentation page with the key tables."""
    for kind in ROOTS:
        (SCHEMAS / f"{kind}.schema.json").write_text(schema_text(kind), encoding="utf-8", newline="\n")
    if page.is_file():
        page.write_text(with_key_tables(page.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    rewrite(Path("docs/configuration.md"))
