"""Azure Pipelines' expressions, evaluated by rules of its documentation: what is between `${{ }}`, in `$[ ]` and in conditions.

Source: learn.microsoft.com, azure/devops/pipelines/process/expressions (literals, functions, type casting).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_TOKENS = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?(?![\w.]))|(?P<name>[A-Za-z_][\w-]*)|(?P<sign>[()\[\],.*]))"
)
_CONSTANTS: Mapping[str, Any] = {"true": True, "false": False, "null": None}


class ExpressionError(ValueError):
    """An expression that the service would refuse."""


Function = Callable[..., Any]


@dataclass(frozen=True)
class Expression:
    """A parsed expression: `give` computes its value from contexts, whose names know no case."""

    give: Callable[[Mapping[str, Any], Mapping[str, Function]], Any]


def evaluate(text: str, contexts: Mapping[str, Any], functions: Mapping[str, Function] | None = None) -> Any:
    """Compute an expression without its brackets.

    Args:
        contexts: such as `parameters` and `variables`.
        functions: more of them than the general ones, such as `succeeded`; they are called with the values.

    Raises:
        ExpressionError: it is none, it names no context or function that is known here, or values do not fit.
    """
    return _Parser(text).parse().give(contexts, {**FUNCTIONS, **(functions or {})})


class _Parser:
    """Recursive descent over calls, indexing and literals: the language has no operators."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_read_tokens(text))
        self.at = 0

    def parse(self) -> Expression:
        found = self._value()
        if self.at < len(self.tokens):
            raise ExpressionError(f"{self.text}: unexpected {self.tokens[self.at][1]}")
        return found

    def _take(self, *signs: str) -> str | None:
        if self.at < len(self.tokens) and self.tokens[self.at][0] == "sign" and self.tokens[self.at][1] in signs:
            self.at += 1
            return self.tokens[self.at - 1][1]
        return None

    def _need(self, sign: str) -> None:
        if self._take(sign) is None:
            raise ExpressionError(f"{self.text}: {sign} is missing")

    def _value(self) -> Expression:
        if self.at >= len(self.tokens):
            raise ExpressionError(f"{self.text}: it ends too early")
        kind, token = self.tokens[self.at]
        self.at += 1
        if kind == "text":
            return self._continue(_constant(token[1:-1].replace("''", "'")))
        if kind == "number":
            return _constant(float(token) if "." in token else int(token))
        if kind != "name":
            raise ExpressionError(f"{self.text}: unexpected {token}")
        if token.lower() in _CONSTANTS:
            return _constant(_CONSTANTS[token.lower()])
        return self._continue(self._call(token) if self._take("(") else _context(token))

    def _call(self, name: str) -> Expression:
        given: list[Expression] = []
        if not self._take(")"):
            given.append(self._value())
            while self._take(","):
                given.append(self._value())
            self._need(")")

        def give(contexts: Mapping[str, Any], functions: Mapping[str, Function]) -> Any:
            known = {key.lower(): function for key, function in functions.items()}
            if name.lower() not in known:
                raise ExpressionError(f"no function {name} here")
            return known[name.lower()](*(one.give(contexts, functions) for one in given))

        return Expression(give)

    def _continue(self, found: Expression) -> Expression:
        while sign := self._take(".", "["):
            if sign == ".":
                found = _index(found, self._property())
            else:
                found = _index(found, self._value())
                self._need("]")
        return found

    def _property(self) -> Expression:
        if self._take("*"):
            return _constant(...)
        if self.at >= len(self.tokens) or self.tokens[self.at][0] != "name":
            raise ExpressionError(f"{self.text}: a name is missing after the dot")
        self.at += 1
        return _constant(self.tokens[self.at - 1][1])


def _read_tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while text[at:].strip():
        found = _TOKENS.match(text, at)
        if not found or not found.lastgroup:
            raise ExpressionError(f"{text}: cannot be read from '{text[at:].strip()[:20]}' on")
        yield found.lastgroup, found[found.lastgroup]
        at = found.end()


def _constant(value: Any) -> Expression:
    return Expression(lambda *_: value)


def _context(name: str) -> Expression:
    def give(contexts: Mapping[str, Any], _: Mapping[str, Function]) -> Any:
        known = {key.lower(): value for key, value in contexts.items()}
        if name.lower() not in known:
            raise ExpressionError(f"no context {name} here")
        return known[name.lower()]

    return Expression(give)


def _index(owner: Expression, key: Expression) -> Expression:
    return Expression(lambda *given: look_up(owner.give(*given), key.give(*given)))


def look_up(owner: Any, key: Any) -> Any:
    """Give a member of a mapping or list; nothing when there is none. `...` gives all of them."""
    if key is ...:
        return list(owner.values()) if isinstance(owner, Mapping) else owner
    if isinstance(owner, Mapping):
        return next((value for name, value in owner.items() if to_text(name).lower() == to_text(key).lower()), None)
    if isinstance(owner, list):
        at = int(to_number(key))
        return owner[at] if 0 <= at < len(owner) else None
    return None


def to_bool(value: Any) -> bool:
    """Cast; every text that is not empty is true, also `false`."""
    return value is not None and value != "" and (not _is_number(value) or value != 0) and value is not False


def to_text(value: Any) -> str:
    """Cast; booleans are written with a capital letter."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "True" if value else "False"
    if isinstance(value, (Mapping, list)):
        raise ExpressionError("an object is no text")
    return f"{value:g}" if isinstance(value, float) else str(value)


def to_number(value: Any) -> float:
    """Cast; a text must be a number, or empty."""
    if value is None or value == "":
        return 0
    if isinstance(value, (bool, int, float)):
        return float(value)
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ExpressionError(f"'{value}' is no number") from error


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _like(left: Any, right: Any) -> Any:
    """Cast the right value to the type of the left one, as comparisons do."""
    if isinstance(left, bool):
        return to_bool(right)
    if _is_number(left):
        return to_number(right)
    if isinstance(left, str):
        return to_text(right)
    return right


def equal(left: Any, right: Any) -> bool:
    """Compare as `eq` does: case counts for nothing, and what cannot be cast is different."""
    if left is None:
        return right is None or right == ""
    try:
        cast = _like(left, right)
    except ExpressionError:
        return False
    if isinstance(left, str):
        return left.lower() == str(cast).lower()
    return bool(left is cast if isinstance(left, (Mapping, list)) else left == cast)


def _ordered(compare: Callable[[Any, Any], bool]) -> Function:
    def call(left: Any, right: Any) -> bool:
        cast = _like(left, right)
        return compare(left.lower(), cast.lower()) if isinstance(left, str) else compare(left, cast)

    return call


def _contains(hay: Any, needle: Any) -> bool:
    return to_text(needle).lower() in to_text(hay).lower()


def _contains_value(hay: Any, needle: Any) -> bool:
    values = hay.values() if isinstance(hay, Mapping) else hay if isinstance(hay, list) else ()
    return any(equal(value, needle) for value in values if not isinstance(value, (Mapping, list)))


def _format(pattern: Any, *given: Any) -> str:
    filled = re.sub(r"(?<!\{)\{(\d+)\}(?!\})", lambda found: to_text(given[int(found[1])]), to_text(pattern))
    return filled.replace("{{", "{").replace("}}", "}")


def _join(separator: Any, values: Any) -> str:
    if not isinstance(values, list):
        return to_text(values)
    return to_text(separator).join("" if isinstance(one, (Mapping, list)) else to_text(one) for one in values)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, (Sequence, Mapping)) else len(to_text(value))


def _split(text: Any, signs: Any) -> list[str]:
    return re.split(f"[{re.escape(to_text(signs))}]", to_text(text)) if to_text(signs) else [to_text(text)]


def _choose(condition: Any, yes: Any, no: Any) -> Any:
    return yes if to_bool(condition) else no


FUNCTIONS: Mapping[str, Function] = {
    "and": lambda *given: all(map(to_bool, given)),
    "or": lambda *given: any(map(to_bool, given)),
    "xor": lambda left, right: to_bool(left) != to_bool(right),
    "not": lambda value: not to_bool(value),
    "eq": equal,
    "ne": lambda left, right: not equal(left, right),
    "gt": _ordered(lambda left, right: left > right),
    "ge": _ordered(lambda left, right: left >= right),
    "lt": _ordered(lambda left, right: left < right),
    "le": _ordered(lambda left, right: left <= right),
    "in": lambda value, *given: any(equal(value, one) for one in given),
    "notIn": lambda value, *given: not any(equal(value, one) for one in given),
    "contains": _contains,
    "containsValue": _contains_value,
    "startsWith": lambda text, part: to_text(text).lower().startswith(to_text(part).lower()),
    "endsWith": lambda text, part: to_text(text).lower().endswith(to_text(part).lower()),
    "coalesce": lambda *given: next((one for one in given if one is not None and one != ""), None),
    "convertToJson": lambda value: json.dumps(value, indent=2),
    "format": _format,
    "iif": _choose,
    "join": _join,
    "length": _length,
    "lower": lambda text: to_text(text).lower(),
    "upper": lambda text: to_text(text).upper(),
    "trim": lambda text: to_text(text).strip(),
    "replace": lambda text, old, new: to_text(text).replace(to_text(old), to_text(new)),
    "split": _split,
}
