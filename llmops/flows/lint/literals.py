"""Which literals prompt flow can convert to which of its types."""

from __future__ import annotations

import json
from typing import Any

TYPES = frozenset(
    {
        "int",
        "double",
        "bool",
        "string",
        "secret",
        "prompt_template",
        "list",
        "object",
        "file_path",
        "image",
        "assistant_definition",
    }
)
"""The types of inputs and outputs."""


def fits_type(value: Any, type_: str) -> bool:
    """Say whether a literal can be converted to a type; None stands for no value and always can."""
    if value is None:
        return True
    try:
        if type_ == "int":
            int(value)
        elif type_ == "double":
            float(value)
        elif type_ == "bool":
            return isinstance(value, bool) or str(value).lower() in ("true", "false")
        elif type_ == "list":
            return isinstance(json.loads(value) if isinstance(value, str) and value else value or [], list)
    except (TypeError, ValueError):
        return False
    return True
