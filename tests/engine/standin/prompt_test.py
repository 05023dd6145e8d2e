"""Prompts of different layouts are read alike: the stand-in knows no particular wording."""

from __future__ import annotations

import pytest

from llmops.engine.standin.model import answer
from llmops.engine.standin.prompt import Message, read_prompt

BULLETS_AND_JSON_ANSWERS = (
    Message(
        role="system",
        text="You sort pages.\n\nCategories:\n- Film: one motion picture\n- Tool: software\n- Nothing: the rest\n\n"
        'Reply with JSON such as {"category": "…", "evidence": "…"}.',
    ),
    Message(
        role="user",
        text="URL: https://a.example/1\nText: Cast and director of the thriller; in cinemas in May.\n"
        'OUTPUT: {"category": "Film", "evidence": "director of the thriller"}\n\n'
        "URL: https://b.example/2\nText: Install it on your phone, version 3.\n"
        'OUTPUT:\n{"category": "Tool", "evidence": "Install it"}\n\n'
        "URL: https://c.example/3\nText: Peel the onions and melt the butter.\n"
        'OUTPUT: {"category": "Nothing", "evidence": "onions"}\n\n'
        "URL: https://d.example/4\nText: Install the new version on a tablet.\nOUTPUT:",
    ),
)
COMMA_LIST_AND_QUESTIONS = (
    Message(
        role="user",
        text="Classify each review as one of: blorp, fizzle or quank.\n\n"
        "Q: the pasta was cold and the waiter rude\nA: blorp\n\n"
        "Q: a wonderful evening and a lovely dessert\nA: fizzle\n\n"
        "Q: we sat there on Tuesday at noon\nA: quank\n\n"
        "Q: lovely people, wonderful bread\nA:",
    ),
)
ARRAY_AND_CHAT_TURNS = (
    Message(role="system", text='Pick one label from ["billing", "bug", "praise"] for each message.'),
    Message(role="user", text="The invoice was charged twice"),
    Message(role="assistant", text="billing"),
    Message(role="user", text="It crashes when I open a file"),
    Message(role="assistant", text="bug"),
    Message(role="user", text="I love the new design"),
    Message(role="assistant", text="praise"),
    Message(role="user", text="another crash with large files"),
)
CATEGORY_LINES_AND_JSON_LINES = (
    Message(
        role="user",
        text="Assign a topic.\n\nCategory: Sport\nDescription: games and athletes\n\n"
        "Category: Money\nDescription: banks and markets\n\n"
        '{"text": "The striker scored in the last minute of the match", "category": "Sport"}\n'
        '{"text": "Shares fell as the bank raised its rates", "category": "Money"}\n\n'
        "Text: The keeper saved two shots before the match ended\nCategory:",
    ),
)
JSON_ARRAY_OF_EXAMPLES = (
    Message(
        role="user",
        text="Which of these labels fits: urgent / later / never\n\nExamples:\n[\n"
        '  {"text": "the server is on fire", "label": "urgent"},\n'
        '  {"text": "please tidy the archive some day", "label": "later"},\n'
        '  {"text": "an offer for cheap watches", "label": "never"}\n]\n\nText: tidy the shelves one day\nLabel:',
    ),
)
LABELS_BEFORE_TEXTS = (
    Message(
        role="user",
        text="Label the sentence.\n\nLabel: warm\nText: the sun burns on the sand\n\n"
        "Label: cold\nText: ice covers the frozen lake\n\nText: snow and ice on the lake",
    ),
)


@pytest.mark.parametrize(
    ("messages", "categories", "labels", "start", "expected"),
    [
        (BULLETS_AND_JSON_ANSWERS, "Film Tool Nothing", "Film Tool Nothing", "URL: https://d", "Tool"),
        (COMMA_LIST_AND_QUESTIONS, "blorp fizzle quank", "blorp fizzle quank", "Q: lovely", "fizzle"),
        (ARRAY_AND_CHAT_TURNS, "billing bug praise", "billing bug praise", "another crash", "bug"),
        (CATEGORY_LINES_AND_JSON_LINES, "Sport Money", "Sport Money", "Text: The keeper", "Sport"),
        (JSON_ARRAY_OF_EXAMPLES, "urgent later never", "urgent later never", "Text: tidy", "later"),
        (LABELS_BEFORE_TEXTS, "warm cold", "warm cold", "Text: snow", "cold"),
    ],
)
def test_reads_categories_examples_and_text_out_of_any_layout(
    messages: tuple[Message, ...], categories: str, labels: str, start: str, expected: str
) -> None:
    prompt = read_prompt(messages)
    assert [category.name for category in prompt.categories] == categories.split()
    assert [example.label for example in prompt.examples] == labels.split()
    assert prompt.query.startswith(start)
    assert expected in answer(messages)


def test_a_category_that_the_prompt_does_not_list_is_never_read_from_its_examples() -> None:
    system, user = BULLETS_AND_JSON_ANSWERS
    shorter = Message(role="system", text=system.text.replace("- Tool: software\n", ""))
    prompt = read_prompt((shorter, user))
    assert [category.name for category in prompt.categories] == ["Film", "Nothing"]
    assert [example.label for example in prompt.examples] == ["Film", "Nothing"]


def test_descriptions_are_read_with_their_categories() -> None:
    film, tool, _ = read_prompt(BULLETS_AND_JSON_ANSWERS).categories
    sport, money = read_prompt(CATEGORY_LINES_AND_JSON_LINES).categories
    assert (film.description, tool.description) == ("one motion picture", "software")
    assert (sport.description, money.description) == ("games and athletes", "banks and markets")


def test_a_list_in_the_text_to_summarise_is_not_taken_for_categories() -> None:
    text = "Summarize the text.\n\nText: Categories: soups, breads, cakes. Choose one of them and cook."
    assert read_prompt((Message(role="user", text=text),)).task == "summarise"


def test_a_question_without_categories_is_answered_not_classified() -> None:
    text = "Sort out my thoughts: the tower is 30 m high. How high is the tower?"
    assert read_prompt((Message(role="user", text=text),)).task == "answer"
