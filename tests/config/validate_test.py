from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmops.config.document import Document, Steps
from llmops.config.schema import ROOTS, schema_of
from llmops.config.validate import KEYWORDS, validate

VALID: dict[str, dict[str, Any]] = {
    "experiment": {
        "name": "qa",
        "flow": "flows/qa",
        "variants": {"node": "variant_1"},
        "datasets": {"smoke": {"path": "data/smoke.jsonl"}},
        "column_mapping": {"question": "${data.question}", "limit": 3},
        "evaluators": {
            "accuracy": {
                "flow": "flows/grade",
                "metrics": {"accuracy": {"score": "grade", "kind": "mean", "bounds": [0, 1]}},
            }
        },
        "gate": {"thresholds": [{"metric": "accuracy", "min": 0.8, "on_inconclusive": "warn"}], "max_failed": 0},
        "concurrency": 4,
        "line_timeout_s": 1.5,
    },
    "environment": {
        "connections": {"model": {"type": "open_ai", "api_key": "${env:KEY}"}},
        "stand_in": {"latency_ms": 20},
        "overrides": {"qa": {"concurrency": 2, "gate": {"thresholds": [{"metric": "accuracy"}]}}},
    },
}


def judge(value: Any, kind: str = "experiment") -> tuple[Any, list[str]]:
    document = Document(label="f.yaml")
    cleaned = validate(value, schema_of(kind), (), document.report)
    return cleaned, [str(problem) for problem in document.sorted_problems()]


def spoiled(path: Steps, value: Any, kind: str = "experiment") -> dict[str, Any]:
    document = copy.deepcopy(VALID[kind])
    *above, last = path
    place: Any = document
    for step in above:
        place = place[step]
    place[last] = value
    return document


@pytest.mark.parametrize("kind", ROOTS)
def test_valid_values_come_back_as_they_are(kind: str) -> None:
    assert judge(VALID[kind], kind) == (VALID[kind], [])


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("gate", "treshold"), [], "gate.treshold: unknown key\n  expected 'thresholds', 'confidence', 'critical_share', 'target', 'sequential', 'add_repeats', 'seed', 'max_failed', 'max_unmeasured'\n  did you mean 'thresholds'?"),
        (("gate", "zzz"), 1, "gate.zzz: unknown key\n  expected 'thresholds', 'confidence', 'critical_share', 'target', 'sequential', 'add_repeats', 'seed', 'max_failed', 'max_unmeasured'"),
        (("flow",), 3, "flow: wrong type\n  found 3\n  expected text\n  Put the value in quotes."),
        (("flow",), True, "flow: wrong type\n  found true\n  expected text\n  Put the value in quotes."),
        (("flow",), ["x"], "flow: wrong type\n  found a list\n  expected text"),
        (("flow",), "", "flow: empty text\n  found ''\n  expected Folder of the flow, relative to the repository."),
        (("gate",), None, "gate: no value\n  expected a mapping\n  Give a value or remove the key."),
        (("gate",), "strict", "gate: wrong type\n  found text\n  expected a mapping"),
        (("gate", "thresholds"), {}, "gate.thresholds: wrong type\n  found a mapping\n  expected a list"),
        (("gate", "thresholds", 0), "accuracy", "gate.thresholds[0]: wrong type\n  found text\n  expected a mapping"),
        (("gate", "thresholds", 0, "min"), "0.8", "gate.thresholds[0].min: wrong type\n  found '0.8'\n  expected a number"),
        (("gate", "thresholds", 0, "on_inconclusive"), "warning", "gate.thresholds[0].on_inconclusive: not one of the allowed values\n  found 'warning'\n  expected 'block', 'warn'\n  did you mean 'warn'?"),
        (("concurrency",), 16.0, "concurrency: wrong type\n  found 16.0\n  expected a whole number"),
        (("concurrency",), True, "concurrency: wrong type\n  found true\n  expected a whole number"),
        (("concurrency",), 0, "concurrency: too small\n  found 0\n  expected at least 1"),
        (("concurrency",), 2000, "concurrency: too large\n  found 2000\n  expected at most 1024"),
        (("line_timeout_s",), 0, "line_timeout_s: too small\n  found 0\n  expected more than 0"),
        (("datasets",), {}, "datasets: empty mapping\n  expected at least one entry"),
        (("datasets", "smoke"), {}, "datasets.smoke: missing key 'path'\n  expected JSON Lines (.jsonl) or CSV (.csv) file, relative to the repository."),
        (("name",), "a b", "name: not a valid name\n  found 'a b'\n  expected a name that matches ^[A-Za-z0-9][A-Za-z0-9._-]*$"),
        (("name",), "a\n", "name: not a valid name\n  found 'a\n'\n  expected a name that matches ^[A-Za-z0-9][A-Za-z0-9._-]*$"),
        (("evaluators", "a.b"), {"flow": "x"}, "evaluators.a.b: not a valid name\n  found 'a.b'\n  expected a name that matches ^[A-Za-z0-9][A-Za-z0-9_-]*$"),
        (("evaluators", "accuracy", "metrics", "accuracy", "bounds"), [0], "evaluators.accuracy.metrics.accuracy.bounds: wrong number of entries\n  found 1\n  expected exactly 2"),
    ],
)  # fmt: skip
def test_problem_says_what_was_found_and_expected(path: Steps, value: Any, message: str) -> None:
    assert judge(spoiled(path, value))[1] == [f"f.yaml:1: {message}"]


def test_all_problems_are_reported_at_once() -> None:
    assert len(judge({"flwo": "x", "datasets": {}, "repeat": "two"})[1]) == 4


def test_cleaned_value_lacks_what_was_reported() -> None:
    cleaned, _ = judge({"flow": "flows/qa", "repeat": "two", "datasets": {"a": {"path": 1}}})
    assert cleaned == {"flow": "flows/qa", "datasets": {"a": {}}}


@pytest.mark.parametrize("value", [12345, ["hunter2"], {"a": "hunter2"}])
def test_value_under_a_key_for_secrets_is_never_shown(value: Any) -> None:
    _, (message,) = judge(spoiled(("connections", "model", "api_key"), value, "environment"), "environment")
    assert "hunter2" not in message and "12345" not in message


def test_text_in_the_place_of_a_connection_is_never_shown() -> None:
    _, messages = judge(spoiled(("connections", "model"), "hunter2", "environment"), "environment")
    assert messages == ["f.yaml:1: connections.model: wrong type\n  found text\n  expected a mapping"]


def keywords(schema: dict[str, Any]) -> Iterator[str]:
    yield from schema
    for value in (schema.get("items"), schema.get("additionalProperties"), *schema.get("properties", {}).values()):
        if isinstance(value, dict):
            yield from keywords(value)


@pytest.mark.parametrize("kind", ROOTS)
def test_every_keyword_of_the_schemas_is_judged(kind: str) -> None:
    assert set(keywords(schema_of(kind))) <= KEYWORDS


def paths(value: Any, path: Steps = ()) -> Iterator[Steps]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in entries:
        yield (*path, step)
        yield from paths(item, (*path, step))


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2000), st.just(0.5), st.sampled_from(["", "a", "a\n", "block", "mean"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["min", "path", "type", "a.b", "x", "x\n"]), inner)
    ),
    max_leaves=4,
)


LINE_ENDS = ("\n", "\r", "\r\n", "\x85", "\u2028")
PLACES = [(kind, path) for kind in ROOTS for path in paths(VALID[kind])]


def judge_pattern(_: object, pattern: str, value: Any, __: object) -> Iterator[jsonschema.ValidationError]:
    """Judge as JSON Schema says, by ECMA 262: its `$` is the very end; jsonschema takes Python's."""
    if isinstance(value, str) and not re.fullmatch(pattern.removeprefix("^").removesuffix("$"), value):
        yield jsonschema.ValidationError("does not match")


Oracle = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": judge_pattern})  # type: ignore[no-untyped-call]


@given(st.sampled_from(PLACES), VALUES)
@example(("experiment", ("name",)), "a\n")
@example(("environment", ("overrides", "qa", "gate", "thresholds", 0, "metric")), "a\n")
def test_judgement_agrees_with_jsonschema(place: tuple[str, Steps], value: Any) -> None:
    """Any value in any place of a valid document is accepted by both or by neither."""
    kind, path = place
    document = spoiled(path, value, kind)
    assert Oracle(schema_of(kind)).is_valid(document) == (judge(document, kind)[1] == [])


def patterns(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from (value for key, value in schema.items() if key == "pattern" and isinstance(value, str))
    for value in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from patterns(value)


def accepts(pattern: str, text: str) -> bool:
    document = Document(label="f.yaml")
    validate(text, {"type": "string", "pattern": pattern}, (), document.report)
    return not document.sorted_problems()


EDITOR = """
const [patterns, texts] = JSON.parse(process.argv[1]);
console.log(JSON.stringify(patterns.map(pattern => texts.map(text => new RegExp(pattern).test(text)))));
"""


def test_editors_read_every_pattern_as_we_do(node: Path) -> None:
    """Editors judge by ECMA 262, whose `$`, `.` and `\\d` are not those of Python's regular expressions."""
    every = sorted({pattern for kind in ROOTS for pattern in patterns(schema_of(kind))})
    assert len(every) >= 5
    good = ["a", "a.b", "a/b", "2026-05-01"]
    texts = ["", "\u00e9", "\u0662" * 4 + "-05-01", *(text + end for text in good for end in ("", *LINE_ENDS))]
    command = [str(node), "-e", EDITOR, json.dumps([every, texts])]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert [[accepts(pattern, text) for text in texts] for pattern in every] == answer
