"""How alike two texts are: bags of word stems and word fragments, weighted by how few examples have them."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from llmops.engine.standin.categories import Category
from llmops.engine.standin.examples import Example
from llmops.engine.standin.lines import normalise

_WORD = re.compile(r"[^\W_]+")
_STEM_LETTERS = 6
_FRAGMENT_LETTERS = 4
_FRAGMENT_WEIGHT = 0.35
_OTHERS_WEIGHT = 0.5
_NAME_WEIGHT = 0.15
_FALLBACK_SCORE = 0.02
_LENGTH_PRIOR = 20
_FALLBACKS = frozenset({"none", "other", "others", "unknown", "misc", "miscellaneous", "neither", "none of the above"})


def words(text: str) -> list[str]:
    """Split a text into lower-case words; addresses fall into their parts."""
    return _WORD.findall(text.lower())


@lru_cache(maxsize=16384)
def _features_of_word(word: str) -> tuple[str, ...]:
    """Give the stem of a word and, marked by a tilde, its fragments; a word as short as a fragment has none."""
    starts = range(len(word) - _FRAGMENT_LETTERS + 1) if len(word) > _FRAGMENT_LETTERS else ()
    return (word[:_STEM_LETTERS], *(f"~{word[start : start + _FRAGMENT_LETTERS]}" for start in starts))


@lru_cache(maxsize=1024)
def _weight(kind: str, count: int) -> float:
    return (_FRAGMENT_WEIGHT if kind == "~" else 1.0) * (1 + math.log(count))


def features(text: str) -> dict[str, float]:
    """Weigh the stems and fragments of a text; a repeated one counts by the logarithm."""
    counts = Counter(itertools.chain.from_iterable(map(_features_of_word, words(text))))
    return {feature: _weight("~" if feature[0] == "~" else "", count) for feature, count in counts.items()}


@dataclass(frozen=True, kw_only=True)
class _Index:
    """Examples by feature, so that a query touches only what it shares with them.

    Attributes:
        idf: feature to its weight: features that all examples have weigh little.
        postings: feature to the examples that have it, each with its weight in a vector of length 1.
    """

    idf: Mapping[str, float]
    postings: Mapping[str, Sequence[tuple[int, float]]]


@lru_cache(maxsize=64)
def _index(texts: tuple[str, ...]) -> _Index:
    bags = [features(text) for text in texts]
    having = Counter(feature for bag in bags for feature in bag)
    idf = {feature: math.log((1 + len(texts)) / (0.5 + count)) for feature, count in having.items()}
    postings: dict[str, list[tuple[int, float]]] = {}
    for number, bag in enumerate(bags):
        vector = {feature: weight * idf[feature] for feature, weight in bag.items()}
        length = math.sqrt(sum(weight * weight for weight in vector.values())) or 1.0
        for feature, weight in vector.items():
            postings.setdefault(feature, []).append((number, weight / length))
    return _Index(idf=idf, postings=postings)


def compare(text: str, others: tuple[str, ...]) -> list[float]:
    """Compare a text with each of the others: the cosine of their weighted bags, 0 to 1."""
    index = _index(others)
    scores = [0.0] * len(others)
    square = 0.0
    for feature, weight in features(text).items():
        idf = index.idf.get(feature)
        if idf is None:
            continue
        square += (weight * idf) ** 2
        for number, other in index.postings[feature]:
            scores[number] += weight * idf * other
    length = math.sqrt(square) or 1.0
    return [score / length for score in scores]


def pick_most_alike(sentences: Sequence[str], wanted: tuple[str, ...], all_texts: tuple[str, ...]) -> str:
    """Pick the sentence that has most in common with the wanted texts; what all texts share counts little.

    Args:
        sentences: at least one; the first of equals is picked.
        wanted: what to look like.
        all_texts: the wanted ones among others.
    """
    idf = _index(all_texts).idf
    known = _vocabulary(wanted)

    def weigh(sentence: str) -> float:
        own = features(sentence)
        return sum(w * idf.get(f, 0.0) for f, w in own.items() if f in known) / (_LENGTH_PRIOR + len(own))

    return max(sentences, key=weigh)


@lru_cache(maxsize=256)
def _vocabulary(texts: tuple[str, ...]) -> frozenset[str]:
    return frozenset(feature for text in texts for feature in features(text))


def score_categories(text: str, categories: tuple[Category, ...], examples: tuple[Example, ...]) -> list[float]:
    """Score each category: its nearest example counts most, its other examples and its name and description less.

    A category named like `None` or `Other` also gets what the rest leave open, so that it wins where nothing fits.
    """
    near = compare(text, tuple(example.text for example in examples)) if examples else []
    named = _score_names(text, categories)
    scores: list[float] = []
    for category, by_name in zip(categories, named, strict=True):
        own = sorted((s for s, e in zip(near, examples, strict=True) if e.label == category.name), reverse=True)
        best, others = (own[0], own[1:]) if own else (0.0, [])
        mean = sum(others) / len(others) if others else 0.0
        scores.append(best + _OTHERS_WEIGHT * mean + _NAME_WEIGHT * by_name)
    return [
        score + (_FALLBACK_SCORE if normalise(category.name) in _FALLBACKS else 0.0)
        for category, score in zip(categories, scores, strict=True)
    ]


def _score_names(text: str, categories: tuple[Category, ...]) -> list[float]:
    seen = Counter(word[:_STEM_LETTERS] for word in words(text))
    scores: list[float] = []
    for category in categories:
        name = [word[:_STEM_LETTERS] for word in words(category.name)]
        about = {word[:_STEM_LETTERS] for word in words(category.description) if len(word) >= _FRAGMENT_LETTERS}
        hits = min((seen[stem] + seen[f"{stem}s"] for stem in name), default=0)
        share = sum(stem in seen for stem in about) / len(about) if about else 0.0
        scores.append(math.log1p(hits) + share)
    return scores
