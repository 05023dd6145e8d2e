from __future__ import annotations

from typing import Any

import pytest
from promptflow._utils.inputs_mapping_utils import apply_inputs_mapping

from llmops.core.mapping import (
    ColumnMapping,
    Reference,
    apply,
    check,
    columns_needed,
    complete,
    parse_mapping,
)
from llmops.errors import UsageError

DATA = {"q": "question", "a.b": "dotted", "a": {"b": "nested"}, "n": None, "line_number": 7}
OUTPUTS = {"answer": 42, "run.inputs.q": "odd"}


def refusal(mapping: dict[str, Any], **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        parse_mapping(mapping, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    "mapping",
    [
        {"x": "${data.q}"},
        {"x": "${data.a}"},
        {"x": "${data.a.b}"},
        {"x": "${data.n}"},
        {"x": "${data.q}\n"},
        {"x": "${run.outputs.answer}", "y": "${run.inputs.q}"},
        {"x": "${run.outputs.run.inputs.q}"},
        {"x": "literal", "y": "", "z": "$5", "w": "costs ${amount} or {data}"},
        {"x": 3, "y": None, "z": [1, "${data.q}"], "w": {"v": True}},
        {"x": "${data.q}", "line_number": "${data.line_number}"},
        {},
    ],
)
def test_inputs_are_those_of_prompt_flow(mapping: dict[str, Any]) -> None:
    sources = {"data": DATA, "run.inputs": DATA, "run.outputs": OUTPUTS}
    expected = apply_inputs_mapping(sources, mapping)
    assert apply(parse_mapping(mapping), data=DATA, run_inputs=DATA, run_outputs=OUTPUTS) == expected


def test_references_that_find_nothing_are_named_together() -> None:
    mapping = parse_mapping({"x": "${data.z}", "y": "${run.outputs.z}", "z": "${data.q}"})
    with pytest.raises(UsageError) as caught:
        apply(mapping, data=DATA)
    assert str(caught.value) == "${data.z} finds nothing in this line\n${run.outputs.z} finds nothing in this line"


def test_mapping_is_split_into_references_and_literals() -> None:
    assert parse_mapping({"x": "${run.inputs.q}", "y": "text"}) == ColumnMapping(
        references={"x": Reference(source="run.inputs", column="q")}, literals={"y": "text"}
    )


@pytest.mark.parametrize(
    ("value", "fix"),
    [
        ("${dta.q}", "did you mean 'data'?"),
        ("${run.output.q}", "did you mean 'run.outputs'?"),
        ("${ data.q}", "did you mean 'data'?"),
        ("${data}", "did you mean 'data'?"),
        ("${data.}", "did you mean 'data'?"),
        ("${inputs.q}", "did you mean 'run.inputs'?"),
        ("Q: ${data.q}", "Write the reference alone; it is not replaced inside other text."),
        ("${data.q", "Write the reference alone; it is not replaced inside other text."),
        ("{{data.q}}", "Write the reference alone; it is not replaced inside other text."),
        ("$data.q", "Write the reference alone; it is not replaced inside other text."),
    ],
)
def test_what_looks_like_a_reference_and_is_none_is_refused(value: str, fix: str) -> None:
    assert refusal({"x": value}) == (
        "column_mapping.x: malformed reference\n"
        f"  found '{value}'\n"
        "  expected ${data.NAME}, ${run.inputs.NAME}, ${run.outputs.NAME}, ${run.line.NAME} or a literal\n"
        f"  {fix}"
    )


def test_all_malformed_references_are_reported_at_once() -> None:
    assert refusal({"x": "${dta.q}", "y": "${x}"}).count("malformed reference") == 2


def test_run_is_no_source_where_nothing_was_run() -> None:
    assert refusal({"x": "${run.outputs.q}"}, sources=("data",)) == (
        "column_mapping.x: there is no 'run.outputs' here\n  found '${run.outputs.q}'\n  expected ${data.NAME} or a literal"
    )


def test_inputs_without_default_take_the_column_of_the_same_name() -> None:
    mapping = complete(parse_mapping({"x": "${data.q}", "y": 1}), {"x": True, "y": True, "z": True, "optional": False})
    assert {name: str(reference) for name, reference in mapping.references.items()} == {
        "x": "${data.q}",
        "z": "${data.z}",
    }


def test_columns_needed_are_listed_by_source() -> None:
    mapping = parse_mapping({"x": "${data.q}", "y": "${data.q}", "z": "${run.outputs.answer}", "w": "literal"})
    assert columns_needed(mapping) == {
        "data": frozenset({"q"}),
        "run.inputs": frozenset(),
        "run.line": frozenset(),
        "run.outputs": frozenset({"answer"}),
    }


def test_sound_mapping_has_no_problems() -> None:
    mapping = parse_mapping({"x": "${data.q}", "y": "${run.outputs.answer}", "z": "${run.inputs.q}"})
    inputs = {"x": True, "y": True, "z": True, "q": True, "optional": False}
    assert check(mapping, inputs=inputs, columns=["q"], outputs=["answer"]) == []


@pytest.mark.parametrize(
    ("mapping", "inputs", "message"),
    [
        ({"x": "${data.quest}"}, {"x": True}, "x: the data has no column 'quest'\n  found '${data.quest}'\n  expected 'question', 'id'\n  did you mean 'question'?"),
        ({"x": "${run.inputs.quest}"}, {"x": True}, "x: the data has no column 'quest'\n  found '${run.inputs.quest}'\n  expected 'question', 'id'\n  did you mean 'question'?"),
        ({"x": "${run.outputs.answr}"}, {"x": True}, "x: the flow that was run has no output 'answr'\n  found '${run.outputs.answr}'\n  expected 'answer'\n  did you mean 'answer'?"),
        ({"xx": "${data.id}"}, {"xy": False}, "xx: the flow has no input 'xx'\n  expected 'xy'"),
        ({"xx": 1}, {}, "xx: the flow has no input 'xx'\n  expected none"),
        ({}, {"questions": True}, "questions: nothing maps to the required input 'questions'\n  found the data has the columns 'question', 'id'\n  expected a column 'questions' or an entry in the column mapping\n  did you mean 'question'?"),
        ({"x": "${data.hint}"}, {"x": True}, "x: some rows have no column 'hint'\n  found none on line 3\n  Give every row this column, or map the input to another."),
        ({}, {"hint": True}, "hint: some rows have no column 'hint'\n  found none on line 3\n  Give every row this column, or map the input to another."),
    ],
)  # fmt: skip
def test_mapping_that_would_fail_on_a_line_is_found_before(
    mapping: dict[str, Any], inputs: dict[str, bool], message: str
) -> None:
    problems = check(
        parse_mapping(mapping), inputs=inputs, columns=["question", "id"], lacking={"hint": 3}, outputs=["answer"]
    )
    assert [str(problem) for problem in problems] == [f"column_mapping.{message}"]


def test_outputs_that_are_not_known_are_not_judged() -> None:
    assert check(parse_mapping({"x": "${run.outputs.any}"}), inputs={"x": True}, columns=[]) == []


def test_problems_stand_where_the_caller_says() -> None:
    (problem,) = check(parse_mapping({"x": 1}), inputs={}, columns=[], where="f.yaml:3: m.{}".format)
    assert problem.where == "f.yaml:3: m.x"
