"""Judge a document by its JSON Schema, in our words.

The keywords are those that `schema.py` writes; a test compares the judgement with the package jsonschema, whose
import alone would cost more than all the rest of reading a configuration.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llmops.config.document import Report, Steps
from llmops.errors import near_match

Schema = Mapping[str, Any]


class _Kind:
    """One of JSON Schema's types.

    Attributes:
        words: what messages call it.
        accepts: whether a value is of this type; a boolean is not a number, `16.0` is not a whole number.
    """

    def __init__(self, words: str, accepts: Callable[[Any], bool]) -> None:
        self.words = words
        self.accepts = accepts


_KINDS: Mapping[str, _Kind] = {
    "object": _Kind("a mapping", lambda value: isinstance(value, dict)),
    "array": _Kind("a list", lambda value: isinstance(value, list)),
    "string": _Kind("text", lambda value: isinstance(value, str)),
    "boolean": _Kind("true or false", lambda value: isinstance(value, bool)),
    "integer": _Kind("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    "number": _Kind("a number", lambda value: isinstance(value, (int, float)) and not isinstance(value, bool)),
}

KEYWORDS = frozenset(
    {
        "$schema",
        "title",
        "description",
        "default",
        "writeOnly",
        "type",
        "enum",
        "properties",
        "required",
        "additionalProperties",
        "propertyNames",
        "minProperties",
        "items",
        "minItems",
        "maxItems",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "minLength",
        "pattern",
    }
)
"""All JSON Schema keywords that `validate` understands."""


def validate(value: Any, schema: Schema, path: Steps, report: Report) -> Any:
    """Report everything that the schema does not allow.

    Args:
        value: plain values as YAML gives them.
        path: where the value stands in its document.

    Returns:
        The value without what was reported, so that further rules meet only values of the right type; None when
        nothing of it is left.
    """
    kind = schema.get("type")
    if kind is None:
        return value
    if not _KINDS[kind].accepts(value):
        _report_type(value, schema, path, report)
        return None
    if kind == "object":
        return _validate_mapping(value, schema, path, report)
    if kind == "array":
        return _validate_list(value, schema, path, report)
    return _validate_scalar(value, schema, path, report)


def _report_type(value: Any, schema: Schema, path: Steps, report: Report) -> None:
    wanted = _KINDS[schema["type"]].words
    if value is None:
        report(path, "no value", expected=wanted, fix="Give a value or remove the key.")
        return
    fix = "Put the value in quotes." if schema["type"] == "string" and not isinstance(value, (dict, list)) else ""
    # Text where a mapping belongs, or under a key for secrets, may be a secret: only its type is shown.
    is_hidden = schema.get("writeOnly") or schema["type"] in ("object", "array")
    report(path, "wrong type", found=_words(value) if is_hidden else _show(value), expected=wanted, fix=fix)


def _words(value: Any) -> str:
    return next((kind.words for kind in _KINDS.values() if kind.accepts(value)), "nothing")


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return _words(value)
    return f"'{value}'" if isinstance(value, str) else str(value)


def _validate_mapping(value: dict[str, Any], schema: Schema, path: Steps, report: Report) -> dict[str, Any]:
    known: Schema = schema.get("properties", {})
    extra = schema.get("additionalProperties", {})
    _report_missing(value, schema, path, report)
    if len(value) < schema.get("minProperties", 0):
        report(path, "empty mapping", expected="at least one entry")
    result = {}
    for key, item in value.items():
        if key not in known and extra is False:
            report((*path, key), "unknown key", expected=_any_of(known), fix=near_match(key, known))
            continue
        _report_name(key, schema, path, report)
        checked = validate(item, known.get(key, extra), (*path, key), report)
        if checked is not None or item is None:
            result[key] = checked
    return result


def _report_missing(value: dict[str, Any], schema: Schema, path: Steps, report: Report) -> None:
    for key in schema.get("required", ()):
        if key not in value:
            report(path, f"missing key '{key}'", expected=schema["properties"][key].get("description", ""))


def _report_name(key: str, schema: Schema, path: Steps, report: Report) -> None:
    pattern = schema.get("propertyNames", {}).get("pattern")
    if pattern and not _matches(pattern, key):
        report((*path, key), "not a valid name", found=f"'{key}'", expected=f"a name that matches {pattern}")


def _matches(pattern: str, text: str) -> bool:
    # JSON Schema's `$` is the very end of the text; Python's also stands before a last line end.
    return re.search(pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern, text) is not None


def _validate_list(value: list[Any], schema: Schema, path: Steps, report: Report) -> list[Any]:
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    if len(value) < least or (most is not None and len(value) > most):
        expected = (
            f"exactly {least}" if least == most else f"at least {least}" if most is None else f"{least} to {most}"
        )
        report(path, "wrong number of entries", found=str(len(value)), expected=expected)
    return [validate(item, schema.get("items", {}), (*path, n), report) for n, item in enumerate(value)]


def _validate_scalar(value: Any, schema: Schema, path: Steps, report: Report) -> Any:
    for is_broken, what, expected, fix in _complaints(value, schema):
        if is_broken:
            report(path, what, found=_show(value), expected=expected, fix=fix)
            return None
    return value


def _complaints(value: Any, schema: Schema) -> Sequence[tuple[bool, str, str, str]]:
    if isinstance(value, str):
        allowed = schema.get("enum")
        return (
            (
                allowed is not None and value not in allowed,
                "not one of the allowed values",
                _any_of(allowed or ()),
                near_match(value, allowed or ()),
            ),
            (len(value) < schema.get("minLength", 0), "empty text", schema.get("description", ""), ""),
            (
                "pattern" in schema and not _matches(schema["pattern"], value),
                "not a valid name",
                f"a name that matches {schema.get('pattern')}",
                "",
            ),
        )
    least, above, most = schema.get("minimum"), schema.get("exclusiveMinimum"), schema.get("maximum")
    return (
        (least is not None and value < least, "too small", f"at least {least}", ""),
        (above is not None and value <= above, "too small", f"more than {above}", ""),
        (most is not None and value > most, "too large", f"at most {most}", ""),
    )


def _any_of(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names)
