"""Read a prompt the way a person would: what is asked, which categories, which examples, which text.

Nothing here knows a particular prompt: categories may stand in a comma list, a JSON array, bullets or `Category: X`
lines; examples in `Key: value` blocks, JSON, questions and answers or chat turns. Reading is cached by line and for
all but the last paragraph, because the calls of one run share most of their prompt.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from llmops.engine.standin.categories import FEWEST_CATEGORIES, Category, find_categories, mentions_list
from llmops.engine.standin.examples import Example, Label, find_labels, read_examples, read_turns
from llmops.engine.standin.lines import LABEL_KEY, Line, end_of_block, join_lines, normalise, read_lines

Task = Literal["classify", "summarise", "answer"]

_SUMMARISE = re.compile(
    r"\b(?:summari[sz]e|condense|shorten|tl;?dr|(?:write|give|create|provide) an? [\w -]*summary)\b", re.IGNORECASE
)
_CLASSIFY = re.compile(
    r"\b(?:classif(?:y|ies|ied|ication|ier)|categori[sz]e|categor(?:y|ies)|labels?|which of (?:these|the following)"
    r"|choose (?:one|from|between|among)|pick one|assign|one of the following|sort)\b",
    re.IGNORECASE,
)
_TEXT_KEY = re.compile(
    r"(?:text|(?:\w+ )?content|document|article|page|passage|body|input|transcript|story|message|email|review|source"
    r"|paragraph)(?: \w+)?",
    re.IGNORECASE,
)
_INSTRUCTION_LETTERS = 2000
_OPENING_LETTERS = 200


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message of a chat: role and text."""

    role: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What a prompt says.

    Attributes:
        instructions: everything before the text in question, to look for what is asked.
        examples: only those whose label is one of the categories.
        label_key: the key under which JSON answers carry the label.
        query: the text in question.
    """

    task: Task
    instructions: str
    categories: tuple[Category, ...]
    examples: tuple[Example, ...]
    label_key: str
    query: str


def read_prompt(messages: Sequence[Message]) -> Prompt:
    """Read a whole prompt."""
    turns, rest = _split_turns(messages)
    text = "\n\n".join(message.text for message in rest)
    last = rest[-1].text if rest else ""
    opening = text[:_INSTRUCTION_LETTERS]
    task = _read_task(opening)
    if task == "summarise":
        query = _text_to_summarise(read_lines(text), rest)
        return Prompt(task=task, instructions=opening, categories=(), examples=(), label_key="", query=query)
    classification = _read_classification(text, last, tuple(turns), alone=not rest[1:]) if task == "classify" else None
    if classification is None:
        return Prompt(task="answer", instructions=opening, categories=(), examples=(), label_key="", query=last)
    return dataclasses.replace(classification, instructions=opening)


def _read_classification(text: str, last: str, turns: tuple[tuple[str, str], ...], *, alone: bool) -> Prompt | None:
    """Read a prompt that seems to classify; None if it names no two categories."""
    head, tail = _split_head(text, turns)
    names = {normalise(category.name): category.name for category in head.categories}
    labels = [*head.labels, *find_labels(tail, names, offset=len(head.lines))]
    from_text, rest, text_key = read_examples([*head.lines, *tail], labels)
    from_turns, turn_key = read_turns(turns, names)
    examples = (*from_turns, *from_text)
    names_in_use = dict.fromkeys(example.label for example in examples)
    categories = head.categories or tuple(Category(name=name) for name in names_in_use)
    if len(categories) < FEWEST_CATEGORIES:
        return None
    instructs = alone or bool(_CLASSIFY.search(last[:_OPENING_LETTERS]))
    query = last if not from_text and not instructs else _from_first_input(rest) or last
    return Prompt(
        task="classify",
        instructions="",
        categories=categories,
        examples=examples,
        label_key=text_key or turn_key,
        query=query,
    )


@dataclass(frozen=True, kw_only=True)
class _Head:
    """What a prompt says before its last paragraph: the part that the calls of one run share.

    Attributes:
        lines: those after the list of categories.
        labels: index in `lines` and label of each line that may label an example.
    """

    categories: tuple[Category, ...]
    lines: tuple[Line, ...]
    labels: tuple[tuple[int, Label], ...]


def _split_head(text: str, turns: tuple[tuple[str, str], ...]) -> tuple[_Head, list[Line]]:
    before, _, after = text.rpartition("\n\n")
    head = _read_head(before, turns)
    if head.categories:
        return head, [Line(text=""), *read_lines(after)]
    return _read_head(text, turns), []


@lru_cache(maxsize=64)
def _read_head(text: str, turns: tuple[tuple[str, str], ...]) -> _Head:
    lines = read_lines(text)
    categories, end = find_categories(lines, (reply for _, reply in turns))
    names = {normalise(category.name): category.name for category in categories}
    body = lines[end:]
    return _Head(categories=categories, lines=tuple(body), labels=tuple(find_labels(body, names)))


def _read_task(opening: str) -> Task:
    classify, summarise = _CLASSIFY.search(opening), _SUMMARISE.search(opening)
    if summarise and (classify is None or summarise.start() < classify.start()):
        return "summarise"
    return "classify" if classify or mentions_list(opening) else "answer"


def _split_turns(messages: Sequence[Message]) -> tuple[list[tuple[str, str]], list[Message]]:
    """Split chat turns with their answers from the rest: system messages and the last user message."""
    turns: list[tuple[str, str]] = []
    rest: list[Message] = []
    for message in messages:
        if message.role == "assistant" and rest and rest[-1].role == "user":
            turns.append((rest.pop().text, message.text))
        elif message.role != "assistant":
            rest.append(message)
    return turns, rest


def _from_first_input(lines: Sequence[Line]) -> str:
    """Leave out what stands before the first `Key: value` line; all of it is meant if there is none."""
    start = next((i for i, line in enumerate(lines) if line.key and not LABEL_KEY.fullmatch(line.key)), 0)
    return join_lines(lines[start:])


def _text_to_summarise(lines: Sequence[Line], rest: Sequence[Message]) -> str:
    start = next((i for i, line in enumerate(lines) if line.key and _TEXT_KEY.fullmatch(line.key)), None)
    if start is not None:
        kept = [lines[start].value, *(line.text for line in lines[start + 1 :])]
    elif len(rest) > 1 and not _SUMMARISE.search(rest[-1].text[:_OPENING_LETTERS]):
        kept = rest[-1].text.split("\n")
    else:
        cue = next((i for i, line in enumerate(lines) if _SUMMARISE.search(line.text)), -1)
        kept = [line.text for line in lines[end_of_block(lines, cue + 1) :]]
        kept = kept if any(text.strip() for text in kept) else [line.text for line in lines[cue + 1 :]]
    while kept and (not kept[-1].strip() or re.fullmatch(r"\W*\w*\s*summary\W*", kept[-1], re.IGNORECASE)):
        kept.pop()
    return "\n".join(kept).strip(" \n`\"'<>=-")
