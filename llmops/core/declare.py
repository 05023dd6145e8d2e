"""Declare the fields of configurable values: the description and the JSON Schema keywords stand beside the type."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def setting(doc: str, *, default: Any = ..., factory: Any = ..., **schema: Any) -> Any:
    """Declare a field with its description and JSON Schema keywords.

    Args:
        doc: one sentence for people, shown by editors.
        default: the value when the key is left out; without it and without `factory` the key is required.
        factory: builds a mutable-looking default such as an empty mapping; a mapping is compared but not hashed.
        schema: further JSON Schema keywords, for instance `minimum=1`.
    """
    metadata = {"doc": doc, "schema": schema}
    if default is not ...:
        return field(default=default, metadata=metadata)
    if factory is not ...:
        return field(default_factory=factory, hash=None if factory is not dict else False, metadata=metadata)
    return field(metadata=metadata)
