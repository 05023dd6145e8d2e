"""Read a prompt the way a person would: what is asked, which categories, which examples, which text.

Nothing here knows a particular prompt: categories may stand in a comma list, a JSON array, bullets or `Category: X`
lines; examples in `Key: value` blocks, JSON, questions and answers or chat turns. Reading is cached by line and by
message, because the calls of one run share most of their prompt.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

Task = Literal["classify", "summarise", "answer"]


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message of a chat: role and text."""

    role: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Category:
    """A category as the prompt declares it; the description may be empty."""

    name: str
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A few-shot example.

    Attributes:
        fields: the other keys of its answer when that was JSON, as pairs so that the example can be hashed.
    """

    text: str
    label: str
    fields: tuple[tuple[str, str], ...] = ()


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


@dataclass(frozen=True, kw_only=True)
class _Line:
    """One line, or one JSON document over several lines."""

    text: str
    key: str = ""
    value: str = ""
    bullet: str = ""
    data: Any = field(default=None, compare=False)


_SUMMARISE = re.compile(r"\b(?:summari[sz]e|condense|shorten|tl;?dr|(?:write|give|create|provide) an? [\w -]*summary)\b", re.I)
_CLASSIFY = re.compile(
    r"\b(?:classif(?:y|ies|ied|ication|ier)|categori[sz]e|categor(?:y|ies)|labels?|which of (?:these|the following)"
    r"|choose (?:one|from|between|among)|pick one|assign|one of the following|sort)\b",
    re.I,
)
_LIST_CUE = re.compile(r"categor|class|label|topic|type|option|choose|one of|kind|tag|group|bucket|following|among", re.I)
_LABEL_KEY = re.compile(
    r"(?:a|answer|assistant|bucket|categor\w*|class|classification|expected|group|intent|kind|label|output|prediction"
    r"|response|result|sentiment|tag|topic|type)",
    re.I,
)
_TEXT_KEY = re.compile(
    r"(?:text|(?:\w+ )?content|document|article|page|passage|body|input|transcript|story|message|email|review|source"
    r"|paragraph)(?: \w+)?",
    re.I,
)
_INPUT_KEYS = frozenset(
    "url text text_content content input question q page document message title body description snippet prompt".split()
)
_DESCRIPTION_KEY = re.compile(r"(?:description|definition|meaning|means|about|explanation|when)", re.I)
_KEY_VALUE = re.compile(r"\s*(?:#+\s*|\*\*|[-*•]\s+)?([A-Za-z][\w -]{0,24}?)\s*(?:\*\*)?\s*[:：](?:\*\*)?(?!//)\s*(.*)")
_BULLET = re.compile(r"\s*(?:[-*•‣·]|\(?\d{1,2}[.)]|\(?[a-z][.)])\s+(\S.*)")
_NAME_AND_TEXT = re.compile(r"\s*(?:\s[-–—]+\s|:\s|=\s|\s\()\s*")
_ARRAY = re.compile(r"\[\s*(?:\"[^\"\n]{1,40}\"|'[^'\n]{1,40}')(?:\s*,\s*(?:\"[^\"\n]{1,40}\"|'[^'\n]{1,40}'))+\s*,?\s*\]")
_ITEMS = (
    r"((?:[\"'`*]*[^\s,;|/:.()\"'`*][^,;|/:.()\n]{0,30}?[\"'`*]*\s*[,;|/]\s*)+"
    r"(?:or\s+|and\s+)?[\"'`*]*[^\s,;|/:.()\n][^,;|/:.()\n]*)"
)
_NAMED_LIST = re.compile(
    r"(?:\b(?:categor(?:y|ies)|class(?:es)?|labels?|topics?|types?|options?|tags?|groups?|buckets?|following|kinds?)\b"
    r"[^:\n,.;|/\"]{0,40}:|\b(?:exactly )?one of(?: these| the following)?:?)\s*" + _ITEMS,
    re.I,
)
_LOOSE_LIST = re.compile(r"\b(?:either|between|among|within|from|into|as|be|are)\s+" + _ITEMS, re.I)
_BARE_LIST = re.compile(r"^\s*" + _ITEMS)
_INSTRUCTION_LETTERS = 2000
_OPENING_LETTERS = 200
_LIST_LINES = 80
_LIST_LETTERS = 600
_LABEL_LETTERS = 60
_TAIL_WORDS = re.compile(
    r"\s(?:based|given|using|according|depending|by|for|with|that|which|when|if|from|in|on|to|about|only|whichever)\b.*", re.I
)
_ARROW = re.compile(r"(.+?)\s*(?:->|=>|→|⇒|\t)\s*([^>→]{1,40})")
_MARKS = " \t\"'`*_.,;:()[]{}<>#-"
_NAME_WORDS = 4


def normalise(name: str) -> str:
    """Fold a category's name for comparison: case, quotes, marks and inner spaces do not count."""
    return " ".join(name.strip(_MARKS).casefold().split())


def read_prompt(messages: Sequence[Message]) -> Prompt:
    """Read a whole prompt."""
    turns, rest = _split_turns(messages)
    text = "\n\n".join(message.text for message in rest)
    last = rest[-1].text if rest else ""
    opening = text[:_INSTRUCTION_LETTERS]
    task = _read_task(opening)
    if task == "summarise":
        query = _text_to_summarise(_read_lines(text), rest)
        return Prompt(task=task, instructions=opening, categories=(), examples=(), label_key="", query=query)
    classification = _read_classification(text, last, tuple(turns), alone=len(rest) < 2) if task == "classify" else None
    if classification is None:
        return Prompt(task="answer", instructions=opening, categories=(), examples=(), label_key="", query=last)
    return dataclasses.replace(classification, instructions=opening)


def _read_classification(text: str, last: str, turns: tuple[tuple[str, str], ...], *, alone: bool) -> Prompt | None:
    """Read a prompt that seems to classify; None if it names no two categories."""
    head, tail = _split_head(text, turns)
    names = {normalise(category.name): category.name for category in head.categories}
    from_text, rest, text_key = _read_examples([*head.lines, *tail], [*head.labels, *_labels_of(tail, names, len(head.lines))])
    from_turns, turn_key = _read_turns(turns, names)
    examples = (*from_turns, *from_text)
    labels = dict.fromkeys(example.label for example in examples)
    categories = head.categories or tuple(Category(name=label) for label in labels)
    if len(categories) < 2:
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
    lines: tuple[_Line, ...]
    labels: tuple[tuple[int, _Label], ...]


def _split_head(text: str, turns: tuple[tuple[str, str], ...]) -> tuple[_Head, list[_Line]]:
    before, _, after = text.rpartition("\n\n")
    head = _read_head(before, turns)
    if head.categories:
        return head, [_Line(text=""), *_read_lines(after)]
    return _read_head(text, turns), []


@lru_cache(maxsize=64)
def _read_head(text: str, turns: tuple[tuple[str, str], ...]) -> _Head:
    lines = _read_lines(text)
    categories, end = _declared_categories(lines, (reply for _, reply in turns))
    names = {normalise(category.name): category.name for category in categories}
    body = lines[end:]
    return _Head(categories=categories, lines=tuple(body), labels=tuple(_labels_of(body, names, 0)))


def _read_task(opening: str) -> Task:
    classify, summarise = _CLASSIFY.search(opening), _SUMMARISE.search(opening)
    if summarise and (classify is None or summarise.start() < classify.start()):
        return "summarise"
    return "classify" if classify or _LIST_CUE.search(opening) else "answer"


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


# Lines ---------------------------------------------------------------------------------------------------------------


def _read_lines(text: str) -> list[_Line]:
    return _join_documents([_read_line(line) for line in text.split("\n")])


def _join_documents(lines: list[_Line]) -> list[_Line]:
    """Replace the lines of a JSON document that spans several by one line that holds it."""
    joined: list[_Line] = []
    index = 0
    while index < len(lines):
        line = lines[index]
        if line.data is None and line.text.strip() in {"[", "{"} or line.text.lstrip().startswith(("[{", '{"')):
            document = _read_document(lines, index)
            if document is not None:
                joined.append(_Line(text=line.text, data=document[0]))
                index = document[1]
                continue
        joined.append(line)
        index += 1
    return joined


def _read_document(lines: Sequence[_Line], start: int) -> tuple[Any, int] | None:
    text = "\n".join(line.text for line in lines[start:])
    try:
        data, end = json.JSONDecoder().raw_decode(text.lstrip())
    except ValueError:
        return None
    consumed = len(text) - len(text.lstrip()) + end
    return data, start + text[:consumed].count("\n") + 1


@lru_cache(maxsize=8192)
def _read_line(text: str) -> _Line:
    bullet = _BULLET.match(text)
    pair = _KEY_VALUE.match(text)
    key, value = (pair[1].strip(), pair[2].strip()) if pair and len(pair[1].split()) <= _NAME_WORDS else ("", "")
    return _Line(text=text, key=key, value=value, bullet=bullet[1] if bullet else "", data=_read_literal(text.strip()))


def _read_literal(text: str) -> Any:
    """Read a line that is a JSON object or a Python literal of one, as templates print them; else None."""
    if not (text.startswith("{") and text.endswith("}")):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError):
            continue
    return None


# Categories ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Listing:
    """A list that may be the categories; `end` is the index of the line after it."""

    categories: tuple[Category, ...]
    end: int


def _declared_categories(lines: Sequence[_Line], replies: Iterable[str]) -> tuple[tuple[Category, ...], int]:
    """Find the list of categories; return it with the index of the line after it.

    Of several lists, that one is meant whose names the examples use most; else the one in the clearest form.
    """
    used = {normalise(name) for name in (*_possible_labels(lines), *replies)}
    best: _Listing | None = None
    most = -1
    for find in (_find_array, _find_category_lines, _find_named_inline, _find_bullets, _find_inline):
        for index in range(min(len(lines), _LIST_LINES)):
            listing = find(lines, index)
            if listing is None or len(listing.categories) < 2:
                continue
            hits = sum(normalise(category.name) in used for category in listing.categories)
            if hits > most:
                best, most = listing, hits
    return (best.categories, best.end) if best else ((), 0)


def _possible_labels(lines: Iterable[_Line]) -> Iterator[str]:
    for line in lines:
        documents = line.data if isinstance(line.data, list) else [line.data]
        for document in documents:
            if isinstance(document, dict):
                yield from (value for value in document.values() if isinstance(value, str))
        if line.value and line.data is None and len(line.value) < _LABEL_LETTERS:
            yield line.value


def _has_cue(lines: Sequence[_Line], index: int) -> bool:
    before = [line.text for line in lines[max(0, index - 4) : index + 1] if line.text.strip()][-2:]
    return any(_LIST_CUE.search(text) for text in before)


def _find_array(lines: Sequence[_Line], index: int) -> _Listing | None:
    match = _ARRAY.search(lines[index].text)
    if match is None or not _has_cue(lines, index):
        return None
    names = [name for name in ast.literal_eval(match[0]) if isinstance(name, str)]
    return _Listing(categories=tuple(Category(name=name.strip()) for name in names), end=index + 1)


def _find_bullets(lines: Sequence[_Line], index: int) -> _Listing | None:
    above = next((line.text for line in reversed(lines[:index]) if line.text.strip()), "")
    if not lines[index].bullet or not _LIST_CUE.search(above):
        return None
    found: list[Category] = []
    while index < len(lines) and (lines[index].bullet or not lines[index].text.strip()):
        if lines[index].bullet:
            category = _split_name(lines[index].bullet)
            if not 1 <= len(category.name.split()) <= _NAME_WORDS:
                return None
            found.append(category)
        index += 1
    return _Listing(categories=tuple(found), end=index)


def _split_name(text: str) -> Category:
    name, *description = _NAME_AND_TEXT.split(text, maxsplit=1)
    return Category(name=name.strip(_MARKS), description=description[0].rstrip(")") if description else "")


def _find_category_lines(lines: Sequence[_Line], index: int) -> _Listing | None:
    """Read `Category: X` lines that follow each other directly or with a description in between."""
    found: list[Category] = []
    while index < len(lines):
        line = lines[index]
        if line.key and _LABEL_KEY.fullmatch(line.key) and 1 <= len(line.value.split()[:99]) and "," not in line.value[:20]:
            category = _split_name(line.value)
            if len(category.name.split()) > _NAME_WORDS or line.value.startswith("{"):
                break
            found.append(category)
        elif found and line.key and _DESCRIPTION_KEY.fullmatch(line.key):
            found[-1] = Category(name=found[-1].name, description=line.value)
        elif not found or line.text.strip():
            break
        index += 1
    return _Listing(categories=tuple(found), end=index) if found else None


def _find_named_inline(lines: Sequence[_Line], index: int) -> _Listing | None:
    """Read a list after `categories:` or `one of`, or one that is a line of its own below such words."""
    above = next((line.text for line in reversed(lines[:index]) if line.text.strip()), "")
    names = _inline_names(lines[index].text, _NAMED_LIST)
    if len(names) < 2 and above.rstrip().endswith(":") and _LIST_CUE.search(above):
        names = _inline_names(lines[index].text, _BARE_LIST)
    return _Listing(categories=tuple(Category(name=name) for name in names), end=index + 1)


def _find_inline(lines: Sequence[_Line], index: int) -> _Listing | None:
    names = _inline_names(lines[index].text, _LOOSE_LIST) if _has_cue(lines, index) else ()
    return _Listing(categories=tuple(Category(name=name) for name in names), end=index + 1)


@lru_cache(maxsize=4096)
def _inline_names(text: str, pattern: re.Pattern[str]) -> tuple[str, ...]:
    for match in pattern.finditer(text[:_LIST_LETTERS]):
        *items, last = re.split(r"\s*[,;|/]\s*", match[1])
        parts = [*items, *re.split(r"\s+(?:or|and)\s+|^\s*(?:or|and)\s+", last)]
        names = [_TAIL_WORDS.sub("", f"{part} ").strip(_MARKS) for part in parts]
        names = [name for name in names if name]
        if len(names) > 1 and all(len(name.split()) <= _NAME_WORDS for name in names):
            return tuple(dict.fromkeys(names))
    return ()


# Examples ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Label:
    name: str
    key: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    text: str = ""


def _read_turns(turns: Iterable[tuple[str, str]], names: Mapping[str, str]) -> tuple[tuple[Example, ...], str]:
    examples: list[Example] = []
    key = ""
    for question, reply in turns:
        line = _read_line(reply.strip())
        label = _read_label(line, names) or _match_name(reply, names)
        if label:
            examples.append(Example(text=question, label=label.name, fields=label.fields))
            key = label.key if line.data is not None else key
    return tuple(examples), key


def _read_examples(
    lines: Sequence[_Line], candidates: Sequence[tuple[int, _Label]]
) -> tuple[tuple[Example, ...], Sequence[_Line], str]:
    """Split lines into examples and what follows the last one; also return the key of labels in JSON answers."""
    labels = list(_choose_labels(lines, candidates))
    if not labels:
        return (), lines, ""
    label_first = _stand_labels_first(lines, [index for index, _ in labels])
    key = next((label.key for _, label in labels if label.key), "")
    bounds = [index for index, _ in labels]
    if label_first:
        last = _end_of_block(lines, bounds[-1] + 1)
        blocks = [lines[a + 1 : b] for a, b in zip(bounds, [*bounds[1:], last], strict=True)]
        rest = lines[last:]
    else:
        blocks = [lines[a:b] for a, b in zip([0, *(index + 1 for index in bounds[:-1])], bounds, strict=True)]
        rest = lines[bounds[-1] + 1 :]
        keys = {line.key for block in blocks[1:] for line in block if line.key} or {line.key for line in rest}
        blocks[:1] = [_from_first_key(blocks[0], keys - {""})]
    examples = tuple(
        Example(text=label.text or _join(block), label=label.name, fields=label.fields)
        for block, (_, label) in zip(blocks, labels, strict=True)
    )
    return tuple(example for example in examples if example.text), rest, key


def _labels_of(lines: Iterable[_Line], names: Mapping[str, str], offset: int) -> Iterator[tuple[int, _Label]]:
    for index, line in enumerate(lines):
        for label in _read_labels(line, names):
            yield index + offset, label


def _choose_labels(
    lines: Sequence[_Line], candidates: Sequence[tuple[int, _Label]]
) -> Iterator[tuple[int, _Label]]:
    """Choose the lines that label an example: those with the key that labels most often, JSON, arrows, names alone."""
    keys = Counter(lines[index].key for index, _ in candidates if lines[index].key)
    usual = max(keys, key=lambda key: keys[key]) if keys else ""
    for index, label in candidates:
        line = lines[index]
        above = next((line for line in reversed(lines[max(0, index - 3) : index]) if line.text.strip()), None)
        follows_key = above is not None and bool(above.key) and not above.value
        if line.data is not None or label.text or line.key == usual != "" or (not line.key and follows_key):
            yield index, label


def _read_labels(line: _Line, names: Mapping[str, str]) -> Iterator[_Label]:
    documents = line.data if isinstance(line.data, list) else [line.data]
    if any(isinstance(document, dict) for document in documents):
        for document in documents:
            label = _read_document_label(document, names) if isinstance(document, dict) else None
            if label:
                yield label
        return
    label = _read_label(line, names)
    if label:
        yield label


def _read_label(line: _Line, names: Mapping[str, str]) -> _Label | None:
    if isinstance(line.data, dict):
        return _read_document_label(line.data, names)
    if line.key and line.value and (_LABEL_KEY.fullmatch(line.key) or line.key.split()[-1].lower() in {"category", "label"}):
        inner = _read_literal(line.value)
        if isinstance(inner, dict):
            return _read_document_label(inner, names)
        return _match_name(line.value, names)
    arrow = _ARROW.fullmatch(line.text)
    if arrow and names:
        match = _match_name(arrow[2], names)
        return _Label(name=match.name, text=arrow[1]) if match else None
    return _match_name(line.text, names) if names else None


def _match_name(text: str, names: Mapping[str, str]) -> _Label | None:
    folded = normalise(text)
    if names:
        return _Label(name=names[folded]) if folded in names else None
    is_name = folded and len(folded.split()) <= _NAME_WORDS and "," not in folded
    return _Label(name=text.strip(_MARKS)) if is_name else None


def _read_document_label(document: Mapping[str, Any], names: Mapping[str, str]) -> _Label | None:
    for key, value in document.items():
        is_label = normalise(value) in names if isinstance(value, str) and names else _LABEL_KEY.fullmatch(str(key))
        if not isinstance(value, str) or not is_label:
            continue
        others = {str(other): str(item) for other, item in document.items() if other != key}
        inputs = [item for other, item in others.items() if other.casefold() in _INPUT_KEYS]
        fields = tuple((other, item) for other, item in others.items() if other.casefold() not in _INPUT_KEYS)
        return _Label(name=names.get(normalise(value), value), key=str(key), fields=fields, text="\n".join(inputs))
    return None


def _stand_labels_first(lines: Sequence[_Line], indices: Sequence[int]) -> bool:
    """Tell whether labels stand before their text: the line above is blank and the one below is not."""
    votes = 0
    for index in indices:
        above = index > 0 and bool(lines[index - 1].text.strip())
        below = index + 1 < len(lines) and bool(lines[index + 1].text.strip())
        votes += int(below) - int(above)
    return votes > 0


def _end_of_block(lines: Sequence[_Line], start: int) -> int:
    return next((i for i in range(start, len(lines)) if not lines[i].text.strip()), len(lines))


def _from_first_key(block: Sequence[_Line], keys: set[str]) -> Sequence[_Line]:
    """Leave out the instructions before the first example: it starts with a key that the others have, too."""
    start = next((index for index, line in enumerate(block) if line.key in keys), None)
    if start is not None:
        return block[start:]
    end = len(block)
    while end and not block[end - 1].text.strip():
        end -= 1
    start = end
    while start and block[start - 1].text.strip():
        start -= 1
    return block[start:end]


def _join(lines: Iterable[_Line]) -> str:
    return "\n".join(line.text for line in lines).strip()


# The text in question ------------------------------------------------------------------------------------------------


def _from_first_input(lines: Sequence[_Line]) -> str:
    """Leave out what stands before the first `Key: value` line; all of it is meant if there is none."""
    start = next((i for i, line in enumerate(lines) if line.key and not _LABEL_KEY.fullmatch(line.key)), 0)
    return _join(lines[start:])


def _text_to_summarise(lines: Sequence[_Line], rest: Sequence[Message]) -> str:
    start = next((i for i, line in enumerate(lines) if line.key and _TEXT_KEY.fullmatch(line.key)), None)
    if start is not None:
        kept = [lines[start].value, *(line.text for line in lines[start + 1 :])]
    elif len(rest) > 1 and not _SUMMARISE.search(rest[-1].text[:_OPENING_LETTERS]):
        kept = rest[-1].text.split("\n")
    else:
        cue = next((i for i, line in enumerate(lines) if _SUMMARISE.search(line.text)), -1)
        kept = [line.text for line in lines[_end_of_block(lines, cue + 1) :]]
        kept = kept if any(text.strip() for text in kept) else [line.text for line in lines[cue + 1 :]]
    while kept and (not kept[-1].strip() or re.fullmatch(r"\W*\w*\s*summary\W*", kept[-1], re.I)):
        kept.pop()
    return "\n".join(kept).strip(" \n`\"'<>=-")
