"""Summaries made of a text's own sentences."""

from __future__ import annotations

import re
from collections import Counter

from llmops.engine.standin.similarity import words

DEFAULT_WORDS = 80
_SENTENCE = re.compile(r"[^.!?。！？\n]+(?:[.!?。！？]+(?=\s|$)|[.!?](?=\S)[^.!?\n]*)*[.!?。！？]*", re.MULTILINE)
_WORD_LIMIT = re.compile(r"\b(\d{1,4})[\s-]*words?\b", re.IGNORECASE)
_SENTENCE_LIMIT = re.compile(
    r"\b(one|two|three|four|five|single|\d{1,2})(?:\s+(?:or|to)\s+\w+)?[\s-]+(?:\w+[\s-]+)?sentences?\b", re.IGNORECASE
)
_NUMBERS = {"single": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
_LEAD_BONUS = 0.15
_SHORTEST_CONTENT_WORD = 4


def split_sentences(text: str) -> list[str]:
    """Split a text into sentences and lines, in order; a mark inside of an address or a version ends no sentence."""
    return [found for found in (sentence.strip() for sentence in _SENTENCE.findall(text)) if found]


def summarise(text: str, instructions: str) -> str:
    """Keep the leading and most central sentences, in their order, within the limit that the instructions state.

    Without a limit of words it is 80; a limit of sentences holds as well. A first sentence over the limit is cut.
    """
    sentences = split_sentences(text)
    limit = _find_limit(instructions)
    most = _find_sentence_limit(instructions) or len(sentences)
    kept: set[int] = set()
    left = limit
    for index in _by_weight(sentences):
        length = len(sentences[index].split())
        if length <= left and len(kept) < most:
            kept.add(index)
            left -= length
    if not kept and sentences:
        return " ".join(sentences[0].split()[:limit])
    return " ".join(sentences[index] for index in sorted(kept))


def _find_limit(instructions: str) -> int:
    match = _WORD_LIMIT.search(instructions)
    return int(match[1]) if match and int(match[1]) else DEFAULT_WORDS


def _find_sentence_limit(instructions: str) -> int | None:
    match = _SENTENCE_LIMIT.search(instructions)
    return (_NUMBERS.get(match[1].lower()) or int(match[1])) if match else None


def _by_weight(sentences: list[str]) -> list[int]:
    """Order sentences by how common their words are in the text, for their length; earlier ones get a bonus."""
    contents = [[word for word in words(sentence) if len(word) >= _SHORTEST_CONTENT_WORD] for sentence in sentences]
    counts = Counter(word for content in contents for word in content)
    top = max(counts.values(), default=1)
    weights = [
        sum(counts[word] for word in content) / (top * (2 + len(content))) + _LEAD_BONUS / (1 + index)
        for index, content in enumerate(contents)
    ]
    return sorted(range(len(sentences)), key=lambda index: (-weights[index], index))
