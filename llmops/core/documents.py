"""Frozen dataclasses to JSON values and back."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal


def to_json(value: Any) -> Any:
    """Turn a record (or any dataclass in it) into JSON values; non-finite floats become null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        body = {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {**getattr(value, "header", {}), **body}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def from_json(cls: type[Any], value: Any) -> Any:
    """Build a value of `cls` from JSON values.

    Raises:
        KeyError, TypeError, ValueError: the document does not have the form of `cls`.
    """
    origin = typing.get_origin(cls)
    if cls is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return from_json(next(arg for arg in typing.get_args(cls) if arg is not type(None)), value)
    if dataclasses.is_dataclass(cls):
        hints = typing.get_type_hints(cls)
        fields = {f.name: f for f in dataclasses.fields(cls)}
        return cls(**{name: from_json(hints[name], value[name]) for name in fields if name in value})
    if origin is tuple:
        items = typing.get_args(cls)
        _expect(type(value) is list and len(value) == len(items), value, cls)
        return tuple(from_json(item, entry) for item, entry in zip(items, value, strict=True))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        item = typing.get_args(cls)[1]
        return {key: from_json(item, entry) for key, entry in value.items()}
    if isinstance(origin, type) and issubclass(origin, Sequence):
        _expect(type(value) is list, value, list)
        item = typing.get_args(cls)[0]
        return tuple(from_json(item, entry) for entry in value)
    return _scalar(cls, value)


def _scalar(cls: type[Any], value: Any) -> Any:
    """Check a value that is no container: reports format numbers, so a text must not stand where one belongs."""
    if typing.get_origin(cls) is Literal:
        _expect(value in typing.get_args(cls), value, typing.get_args(cls))
    elif cls is float:
        _expect(value is None or type(value) in (bool, int, float), value, cls)
        return math.nan if value is None else float(value)
    else:
        _expect(type(value) is cls, value, cls)
    return value


def _expect(is_right: bool, value: Any, expected: Any) -> None:
    if not is_right:
        raise TypeError(f"{value!r:.60} is not {getattr(expected, '__name__', expected)}")
