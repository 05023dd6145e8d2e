"""Our reading of Azure Pipelines' expressions, case by case as its documentation has them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.templates.azure_expressions import ExpressionError, evaluate

CONTEXTS: dict[str, Any] = {
    "parameters": {"name": "qa", "on": True, "list": ["a", "b"], "object": {"x": {"y": 3}}, "empty": ""},
    "variables": {"Build.Reason": "PullRequest"},
    "dependencies": {"plan": {"result": "Succeeded", "outputs": {"affected.count": "10"}}},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'it''s'", "it's"),
        ("-1.5", -1.5),
        ("parameters.object.x.y", 3),
        ("parameters['object']['X'].y", 3),
        ("parameters.list[1]", "b"),
        ("parameters.unknown.deeper", None),
        ("parameters.object.*", [{"y": 3}]),
        ("variables['build.reason']", "PullRequest"),
        ("eq(true, 'false')", True),
        ("eq('True', true)", True),
        ("eq('ABC', 'abc')", True),
        ("eq(3, 'three')", False),
        ("eq(parameters.unknown, '')", True),
        ("ne(variables['Build.Reason'], 'pullrequest')", False),
        ("gt(dependencies.plan.outputs['affected.count'], 0)", True),
        ("gt('0', 0)", False),
        ("lt(2, '10')", True),
        ("ge(2, '2')", True),
        ("le('b', 'A')", False),
        ("and(true, 'false', 1)", True),
        ("or(false, '', 0)", False),
        ("xor(true, false)", True),
        ("not('')", True),
        ("in('B', 'a', 'b')", True),
        ("notIn('c', 'a', 'b')", True),
        ("contains('Refs/Heads', 'refs')", True),
        ("containsValue(parameters.list, 'B')", True),
        ("startsWith('refs/heads/main', 'REFS/')", True),
        ("endsWith('main', 'IN')", True),
        ("coalesce(parameters.empty, parameters.name)", "qa"),
        ("format('{0}-{1} {{x}}', parameters.name, true)", "qa-True {x}"),
        ("join(', ', parameters.list)", "a, b"),
        ("length(parameters.list)", 2),
        ("lower(parameters.on)", "true"),
        ("upper('a')", "A"),
        ("trim(' a ')", "a"),
        ("replace('a.b', '.', '-')", "a-b"),
        ("split('a,b;c', ',;')", ["a", "b", "c"]),
        ("iif(parameters.empty, 1, 2)", 2),
        ("convertToJson(parameters.list)", '[\n  "a",\n  "b"\n]'),
    ],
)
def test_an_expression_has_the_value_that_the_documentation_gives(text: str, value: object) -> None:
    assert evaluate(text, CONTEXTS) == value


@pytest.mark.parametrize(
    "text", ["", "eq(1", "eq(1,)", "1 == 1", "secrets.x", "nothing()", "parameters.", "'open", "gt(1, 'x')", "a b"]
)
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate(text, CONTEXTS)
