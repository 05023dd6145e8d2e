"""The stand-in's answers follow from the prompt alone, and get worse with it."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from llmops.engine.standin.model import answer
from llmops.engine.standin.prompt import Message

EXAMPLES = (
    'Text: Peel the onions.\nAnswer: {"kind": "recipe", "why": "onions"}\n\n'
    'Text: The train leaves at nine.\nAnswer: {"kind": "timetable", "why": "leaves at nine"}\n\n'
)


def ask(text: str, **options: object) -> str:
    return answer((Message(role="user", text=text),), **options)  # type: ignore[arg-type]


def test_json_answers_have_the_keys_of_the_examples_and_quote_the_text() -> None:
    reply = ask(f"Kinds: recipe, timetable\n\n{EXAMPLES}Text: It rains. The last train leaves at ten.\nAnswer:")
    assert json.loads(reply) == {"kind": "timetable", "why": "The last train leaves at ten."}


def test_json_answers_have_the_keys_of_the_skeleton_when_there_are_no_examples() -> None:
    reply = ask('Classify as recipe or none: {"label": "…", "confidence": 0.5}\nLabels: recipe, none\n\nText: a recipe')
    assert json.loads(reply)["label"] == "recipe"
    assert 0 <= json.loads(reply)["confidence"] <= 1


def test_a_field_with_few_values_in_the_examples_gets_one_of_them() -> None:
    examples = "".join(
        f'Text: {t}\nAnswer: {{"kind": "{k}", "from": "text"}}\n\n' for t, k in [("peel", "a"), ("go", "b")]
    )
    reply = ask(f"Kinds: a, b\n\n{examples}Text: peel it\nAnswer:")
    assert json.loads(reply) == {"kind": "a", "from": "text"}


def test_without_examples_only_the_names_of_the_categories_help() -> None:
    question = "Text: The last train leaves at ten.\nAnswer:"
    with_examples = ask(f"Kinds: recipe, timetable\n\n{EXAMPLES}{question}")
    assert json.loads(with_examples)["kind"] == "timetable"
    assert ask(f"Kinds: recipe, timetable\n\n{question}") == "recipe"


def test_a_category_for_the_rest_wins_where_nothing_fits() -> None:
    assert ask("Classify. Categories: recipe, timetable, other\n\nText: A hat.") == "other"


def test_summaries_consist_of_the_text_and_keep_the_stated_limit() -> None:
    text = "The ferry leaves at ten. The ferry carries cars and sheep. Tea is served. The sheep dislike the ferry."
    reply = ask(f"Summarize in 12 words.\n\nText: {text}\n\nSummary:")
    assert 0 < len(reply.split()) <= 12
    assert all(sentence.strip() in text for sentence in reply.split("."))


def test_a_summary_in_one_sentence_is_one_sentence() -> None:
    reply = ask("Summarize in one sentence.\n\nText: The ferry leaves at ten. Tea is served. It rains.\n\nSummary:")
    assert reply == "The ferry leaves at ten."


def test_a_question_is_answered_with_the_most_relevant_sentence() -> None:
    reply = ask("Tea is green. The tower is 30 m high. Who knows why? How high is the tower?")
    assert reply == "According to the text: The tower is 30 m high."


def test_response_format_json_makes_the_answer_a_json_object() -> None:
    assert json.loads(ask("Say hello.", wants_json=True)).keys() == {"answer"}
    assert json.loads(ask("Labels: tea, coffee\n\nText: tea", wants_json=True)) == {"category": "tea"}


def test_a_schema_names_the_keys_and_its_enumeration_the_categories() -> None:
    schema = {"properties": {"drink": {"enum": ["tea", "coffee"]}, "reason": {"type": "string"}}}
    reply = ask("What do they drink? A cup of coffee, please.", wants_json=True, schema=schema)
    assert json.loads(reply)["drink"] == "coffee"


def test_an_empty_prompt_gets_an_answer_that_says_so() -> None:
    assert ask("") == "The stand-in model was given nothing to answer."


PIECES = st.sampled_from(
    [
        "Categories: a, b",
        "- a",
        "- b: text",
        "[",
        "{",
        '{"category": "a"}',
        '["a", "b"]',
        "Category: a",
        "Text: b",
        "A:",
        "",
    ]
)


@given(st.lists(st.one_of(PIECES, st.text(max_size=40)), max_size=25))
def test_any_prompt_gets_a_text_and_always_the_same(lines: list[str]) -> None:
    reply = ask("\n".join(lines))
    assert isinstance(reply, str)
    assert ask("\n".join(lines)) == reply
