"""Find the few-shot examples in a prompt."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmops.engine.standin.lines import (
    LABEL_KEY,
    MARKS,
    NAME_WORDS,
    Line,
    end_of_block,
    join_lines,
    normalise,
    read_line,
    read_literal,
)

_INPUT_KEYS = frozenset({
    "body", "content", "description", "document", "input", "message", "page", "prompt", "q", "question", "snippet",
    "text", "text_content", "title", "url",
})  # fmt: skip
_LABEL_REACH = 3
_ARROW = re.compile(r"(.+?)\s*(?:->|=>|→|⇒|\t)\s*([^>→]{1,40})")


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
class Label:
    """What a line says of the category of an example.

    Attributes:
        key: under which JSON has the label; empty for plain text.
        fields: the other keys of that JSON.
        text: the example itself, where it stands on the same line; else empty.
    """

    name: str
    key: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    text: str = ""


def read_turns(turns: Iterable[tuple[str, str]], names: Mapping[str, str]) -> tuple[tuple[Example, ...], str]:
    """Read chat turns as examples; also return the key of labels in JSON answers.

    Args:
        turns: question and reply.
        names: folded name to name of each category; if empty, any short reply is a label.
    """
    examples: list[Example] = []
    key = ""
    for question, reply in turns:
        line = read_line(reply.strip())
        label = next(_read_labels(line, names), None) or _match_name(reply, names)
        if label:
            examples.append(Example(text=question, label=label.name, fields=label.fields))
            key = label.key if line.data is not None else key
    return tuple(examples), key


def read_examples(
    lines: Sequence[Line], candidates: Sequence[tuple[int, Label]]
) -> tuple[tuple[Example, ...], Sequence[Line], str]:
    """Split lines into examples and what follows the last one; also return the key of labels in JSON answers.

    Args:
        lines: what stands after the list of categories.
        candidates: index and label of the lines that may label an example, as `find_labels` finds them.
    """
    labels = list(_choose_labels(lines, candidates))
    if not labels:
        return (), lines, ""
    blocks, rest = _split_blocks(lines, [index for index, _ in labels])
    examples = tuple(
        Example(text=label.text or join_lines(block), label=label.name, fields=label.fields)
        for block, (_, label) in zip(blocks, labels, strict=True)
    )
    key = next((label.key for _, label in labels if label.key), "")
    return tuple(example for example in examples if example.text), rest, key


def _split_blocks(lines: Sequence[Line], bounds: Sequence[int]) -> tuple[list[Sequence[Line]], Sequence[Line]]:
    """Cut the lines at those with labels; return the block of each label and what is left after the last."""
    if _stand_labels_first(lines, bounds):
        last = end_of_block(lines, bounds[-1] + 1)
        return [lines[a + 1 : b] for a, b in zip(bounds, [*bounds[1:], last], strict=True)], lines[last:]
    starts = [0, *(index + 1 for index in bounds[:-1])]
    first, *others = [lines[a:b] for a, b in zip(starts, bounds, strict=True)]
    rest = lines[bounds[-1] + 1 :]
    keys = {line.key for block in others for line in block} - {""} or {line.key for line in rest} - {""}
    return [_from_first_key(first, keys), *others], rest


def find_labels(lines: Iterable[Line], names: Mapping[str, str], offset: int = 0) -> Iterator[tuple[int, Label]]:
    """Find the lines that may label an example, with their index.

    Args:
        lines: of a whole prompt or of a part.
        offset: added to the index, for a part that does not start the prompt.
        names: folded name to name of each category; if empty, any short value of a fitting key is a label.
    """
    for index, line in enumerate(lines):
        for label in _read_labels(line, names):
            yield index + offset, label


def _choose_labels(lines: Sequence[Line], candidates: Sequence[tuple[int, Label]]) -> Iterator[tuple[int, Label]]:
    """Choose the lines that label an example: those with the key that labels most often, JSON, arrows, names alone."""
    keys = Counter(lines[index].key for index, _ in candidates if lines[index].key)
    usual = max(keys, key=lambda key: keys[key]) if keys else ""
    for index, label in candidates:
        line = lines[index]
        above = next(
            (line for line in reversed(lines[max(0, index - _LABEL_REACH) : index]) if not line.is_blank), None
        )
        follows_key = above is not None and bool(above.key) and not above.value
        if line.data is not None or label.text or (line.key and line.key == usual) or (not line.key and follows_key):
            yield index, label


def _read_labels(line: Line, names: Mapping[str, str]) -> Iterator[Label]:
    found = [_read_document(document, names) for document in line.documents] or [_read_label(line, names)]
    yield from (label for label in found if label)


def _read_label(line: Line, names: Mapping[str, str]) -> Label | None:
    if line.key and line.value and LABEL_KEY.fullmatch(line.key):
        document = read_literal(line.value)
        return _read_document(document, names) if isinstance(document, dict) else _match_name(line.value, names)
    arrow = _ARROW.fullmatch(line.text)
    if arrow and names:
        match = _match_name(arrow[2], names)
        return Label(name=match.name, text=arrow[1]) if match else None
    return _match_name(line.text, names) if names else None


def _match_name(text: str, names: Mapping[str, str]) -> Label | None:
    folded = normalise(text)
    if names:
        return Label(name=names[folded]) if folded in names else None
    is_name = folded and len(folded.split()) <= NAME_WORDS and "," not in folded
    return Label(name=text.strip(MARKS)) if is_name else None


def _read_document(document: Mapping[str, Any], names: Mapping[str, str]) -> Label | None:
    for key, value in document.items():
        is_label = normalise(value) in names if isinstance(value, str) and names else LABEL_KEY.fullmatch(str(key))
        if not isinstance(value, str) or not is_label:
            continue
        others = {str(other): str(item) for other, item in document.items() if other != key}
        inputs = [item for other, item in others.items() if other.casefold() in _INPUT_KEYS]
        fields = tuple((other, item) for other, item in others.items() if other.casefold() not in _INPUT_KEYS)
        return Label(name=names.get(normalise(value), value), key=str(key), fields=fields, text="\n".join(inputs))
    return None


def _stand_labels_first(lines: Sequence[Line], indices: Sequence[int]) -> bool:
    """Tell whether labels stand before their text: the line above is blank and the one below is not."""
    votes = 0
    for index in indices:
        above = index > 0 and not lines[index - 1].is_blank
        below = index + 1 < len(lines) and not lines[index + 1].is_blank
        votes += int(below) - int(above)
    return votes > 0


def _from_first_key(block: Sequence[Line], keys: set[str]) -> Sequence[Line]:
    """Leave out the instructions before the first example: it starts with a key that the others have, too."""
    start = next((index for index, line in enumerate(block) if line.key in keys), None)
    if start is not None:
        return block[start:]
    end = next((index for index in range(len(block), 0, -1) if not block[index - 1].is_blank), 0)
    start = next((index for index in range(end, 0, -1) if block[index - 1].is_blank), 0)
    return block[start:end]
