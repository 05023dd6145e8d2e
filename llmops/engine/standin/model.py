"""The stand-in's answers: a pure function of the request, made to be worse where the prompt is worse.

It sees nothing but the messages. It knows no data set, no labels and no particular prompt.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from llmops.engine.standin.categories import Category
from llmops.engine.standin.lines import normalise
from llmops.engine.standin.prompt import Message, Prompt, read_prompt
from llmops.engine.standin.similarity import compare, pick_most_alike, score_categories
from llmops.engine.standin.summary import split_sentences, summarise

_KEY_IN_SKELETON = re.compile(r"[{,]\s*[\"'](\w{1,40})[\"']\s*:")
_NAMED_KEYS = re.compile(r"\b(?:keys?|fields?|properties)\b[^\n.]{0,80}", re.IGNORECASE)
_QUOTED = re.compile(r"[\"'`](\w{1,40})[\"'`]")
_EXPLANATION = re.compile(r"evidence|reason\w*|rationale|explanation|explain|why|quote|justification", re.IGNORECASE)
_CONFIDENCE = re.compile(r"confidence|probability|certainty|score", re.IGNORECASE)
_NAME_KEY = re.compile(r"categor\w*|class\w*|label|topic|type|answer|output|intent|sentiment|result", re.IGNORECASE)
_KEY = re.compile(r"^[A-Za-z][\w -]{0,24}:(?!//)\s*")
_QUOTE_WORDS = 25


def answer(messages: tuple[Message, ...], *, wants_json: bool = False, schema: Mapping[str, Any] | None = None) -> str:
    """Answer a chat.

    Args:
        messages: at least one.
        wants_json: the answer must be a JSON object even if the prompt does not ask for one.
        schema: JSON Schema of that object; its properties are filled by name.

    Returns:
        A category or JSON with it for a prompt that classifies, sentences of the text for one that summarises, else a
        sentence that quotes what is most relevant in the prompt.
    """
    prompt = read_prompt(messages)
    if schema is not None:
        prompt = _with_enum(prompt, schema)
    if prompt.task == "classify":
        return _classify(prompt, wants_json=wants_json, schema=schema)
    text = summarise(prompt.query, prompt.instructions) if prompt.task == "summarise" else _quote(prompt.query)
    keys = _schema_keys(schema) or _json_keys(prompt.instructions)
    if wants_json or (keys and prompt.task == "answer" and "json" in prompt.instructions.lower()):
        return _dump(dict.fromkeys(keys or ("summary" if prompt.task == "summarise" else "answer",), text))
    return text


def _classify(prompt: Prompt, *, wants_json: bool, schema: Mapping[str, Any] | None) -> str:
    scores = score_categories(prompt.query, prompt.categories, prompt.examples)
    best = max(range(len(scores)), key=lambda index: (scores[index], -index))
    category = prompt.categories[best]
    keys = _schema_keys(schema) or _example_keys(prompt) or _json_keys(prompt.instructions)
    if not keys and not wants_json:
        return category.name
    keys = keys or ("category",)
    label_key = next((k for k in keys if k == prompt.label_key or _NAME_KEY.fullmatch(k)), keys[0])
    total = sum(scores) or 1.0
    return _dump(
        {key: category.name if key == label_key else _fill(key, prompt, category, scores[best] / total) for key in keys}
    )


def _fill(key: str, prompt: Prompt, category: Category, share: float) -> Any:
    """Fill a key beside the category: with one of the few values that the examples have there, or with a quote."""
    own = [dict(example.fields).get(key) for example in prompt.examples if example.label == category.name]
    values = Counter(value for example in prompt.examples for name, value in example.fields if name == key)
    quotes = any(dict(example.fields).get(key, "\0") in example.text for example in prompt.examples)
    if values and not quotes and len(values) <= len(prompt.examples) / 2:
        return next((value for value in own if value), values.most_common(1)[0][0])
    if _CONFIDENCE.fullmatch(key):
        return round(share, 2)
    if quotes or _EXPLANATION.fullmatch(key):
        return _find_evidence(prompt, category)
    return ""


def _find_evidence(prompt: Prompt, category: Category) -> str:
    sentences = [_KEY.sub("", sentence) for sentence in split_sentences(prompt.query)]
    sentences = [sentence for sentence in sentences if sentence]
    texts = tuple(example.text for example in prompt.examples)
    own = tuple(example.text for example in prompt.examples if example.label == category.name)
    about = f"{category.name} {category.description}"
    return _shorten(pick_most_alike(sentences, own or (about,), texts or (about,))) if sentences else ""


def _quote(text: str) -> str:
    sentences = split_sentences(text)
    if not sentences:
        return "The stand-in model was given nothing to answer."
    question = next((s for s in reversed(sentences) if s.endswith("?")), sentences[-1])
    others = tuple(sentence for sentence in sentences if sentence != question)
    if not others:
        return f"The stand-in model read: {_shorten(question)}"
    scores = compare(question, others)
    return f"According to the text: {_shorten(others[max(range(len(others)), key=lambda i: (scores[i], -i))])}"


def _shorten(sentence: str) -> str:
    return " ".join(sentence.split()[:_QUOTE_WORDS])


def _with_enum(prompt: Prompt, schema: Mapping[str, Any]) -> Prompt:
    """Take the categories from an enumeration in the schema, which binds the answer more than the prompt does."""
    for key, value in (schema.get("properties") or {}).items():
        names = value.get("enum") if isinstance(value, dict) else None
        if names and all(isinstance(name, str) for name in names):
            described = {normalise(category.name): category for category in prompt.categories}
            categories = tuple(described.get(normalise(name), Category(name=name)) for name in names)
            return Prompt(
                task="classify",
                instructions=prompt.instructions,
                categories=categories,
                examples=prompt.examples,
                label_key=key,
                query=prompt.query,
            )
    return prompt


def _schema_keys(schema: Mapping[str, Any] | None) -> tuple[str, ...]:
    return tuple((schema or {}).get("properties") or ())


def _example_keys(prompt: Prompt) -> tuple[str, ...]:
    """Take the keys of the examples' answers, if those are JSON."""
    if not prompt.label_key:
        return ()
    fields = next((example.fields for example in prompt.examples if example.fields), ())
    return (prompt.label_key, *(key for key, _ in fields))


@lru_cache(maxsize=256)
def _json_keys(instructions: str) -> tuple[str, ...]:
    """Find the keys of the JSON object that a prompt asks for, in a skeleton or by name; none if it asks for none."""
    if "json" not in instructions.lower() and not _KEY_IN_SKELETON.search(instructions):
        return ()
    keys = _KEY_IN_SKELETON.findall(instructions)
    if not keys:
        keys = [key for named in _NAMED_KEYS.findall(instructions) for key in _QUOTED.findall(named)]
    return tuple(dict.fromkeys(keys))


def _dump(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False)
