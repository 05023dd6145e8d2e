"""Metrics that compare numbers, sets and JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from llmops.evaluators.builtin.text import f_measure, normalize

_NUMBER = re.compile(r"[-+]?(?:\d[\d,]*)(?:\.\d+)?(?:[eE][-+]?\d+)?")


class JsonSchema:
    """1 when the prediction is JSON that fits the schema (draft 2020-12); without a schema, when it is JSON."""

    def __init__(self, *, schema: Mapping[str, Any] | None = None) -> None:
        from jsonschema import Draft202012Validator

        Draft202012Validator.check_schema(dict(schema or {}))
        self._validator = Draft202012Validator(dict(schema or {}))

    def __call__(self, prediction: Any) -> dict[str, int]:
        if isinstance(prediction, str):
            try:
                prediction = json.loads(prediction)
            except ValueError:
                return {"is_json": 0, "json_schema": 0}
        return {"is_json": 1, "json_schema": int(self._validator.is_valid(prediction))}


class NumericClose:
    """1 when the prediction is a number close to the reference.

    With `find: true` the last number in a text is taken. A prediction that is no number is wrong; a reference that is
    none is an error.
    """

    def __init__(self, *, abs_tol: float = 1e-9, rel_tol: float = 0.0, find: bool = False) -> None:
        self._abs_tol, self._rel_tol, self._find = abs_tol, rel_tol, find

    def __call__(self, prediction: Any, reference: Any) -> dict[str, float]:
        expected = _number(reference, find=False)
        if expected is None:
            raise ValueError(f"the reference {reference!r} is not a number")
        found = _number(prediction, find=self._find)
        if found is None:
            return {"numeric_close": 0}
        close = math.isclose(found, expected, abs_tol=self._abs_tol, rel_tol=self._rel_tol)
        return {"numeric_close": int(close), "absolute_error": abs(found - expected)}


def _number(value: Any, *, find: bool) -> float | None:
    if isinstance(value, (int, float)):
        return float(value) if math.isfinite(value) else None
    matches = _NUMBER.findall(str(value)) if find else [str(value).strip()]
    try:
        number = float(matches[-1].replace(",", ""))
    except (IndexError, ValueError):
        return None
    return number if math.isfinite(number) else None


class SetMatch:
    """Compare two lists as sets; a text is a list separated by `separator`."""

    def __init__(self, *, separator: str = ",", ignore_case: bool = True) -> None:
        self._separator, self._ignore_case = separator, ignore_case

    def __call__(self, prediction: Any, reference: Any) -> dict[str, float]:
        found, wanted = self._items(prediction), self._items(reference)
        shared = len(found & wanted)
        precision, recall, f1 = f_measure(shared, len(found), len(wanted))
        union = len(found | wanted)
        return {
            "set_match": int(found == wanted),
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "jaccard": shared / union if union else 1.0,
        }

    def _items(self, value: Any) -> frozenset[str]:
        items = value if isinstance(value, (list, tuple)) else str(value).split(self._separator)
        folded = (normalize(item, ignore_case=self._ignore_case) for item in items)
        return frozenset(item for item in folded if item)
