"""Metrics that compare texts."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

REGEX_TIMEOUT_S = 1.0
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: Any, *, ignore_case: bool = True, ignore_punctuation: bool = False) -> str:
    """Fold what should not count: surrounding and repeated space always, case and ASCII punctuation if asked."""
    found = str(text)
    if ignore_case:
        found = found.casefold()
    if ignore_punctuation:
        found = found.translate(_PUNCTUATION)
    return " ".join(found.split())


class ExactMatch:
    """1 when prediction and reference are the same text."""

    def __init__(self, *, ignore_case: bool = False, ignore_punctuation: bool = False) -> None:
        self._options = {"ignore_case": ignore_case, "ignore_punctuation": ignore_punctuation}

    def __call__(self, prediction: Any, reference: Any) -> dict[str, int]:
        same = normalize(prediction, **self._options) == normalize(reference, **self._options)
        return {"exact_match": int(same)}


class Contains:
    """1 when the prediction contains the reference: all of several texts, or any of them."""

    def __init__(self, *, ignore_case: bool = True, need: str = "all") -> None:
        if need not in {"all", "any"}:
            raise ValueError(f"options.need is {need!r}; expected 'all' or 'any'")
        self._ignore_case = ignore_case
        self._enough = all if need == "all" else any

    def __call__(self, prediction: Any, reference: Any) -> dict[str, int]:
        wanted = reference if isinstance(reference, list) else [reference]
        if not wanted:
            raise ValueError("the reference is an empty list, which anything would satisfy")
        text = normalize(prediction, ignore_case=self._ignore_case)
        return {"contains": int(self._enough(normalize(one, ignore_case=self._ignore_case) in text for one in wanted))}


class Regex:
    """1 when the pattern is found in the prediction (`full: true`: when it is all of it).

    The pattern is an option or comes from the data; a match that takes longer than `timeout_s` is an error.
    """

    def __init__(self, *, pattern: str = "", full: bool = False, timeout_s: float = REGEX_TIMEOUT_S) -> None:
        self._pattern = pattern
        self._full = full
        self._timeout_s = timeout_s

    def __call__(self, prediction: Any, pattern: str = "") -> dict[str, int]:
        import regex

        chosen = pattern or self._pattern
        if not chosen:
            raise ValueError("there is no pattern: set options.pattern or map the input `pattern`")
        try:
            match = regex.fullmatch if self._full else regex.search
            found = match(chosen, str(prediction), timeout=self._timeout_s)
        except TimeoutError:
            raise ValueError(f"the pattern took longer than {self._timeout_s:g} s") from None
        except regex.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return {"regex": int(found is not None)}


class TokenF1:
    """F1 of the words that prediction and reference share.

    Source: Rajpurkar et al. (2016), SQuAD: 100,000+ questions for machine comprehension of text; without its removal
    of articles unless `ignore_articles` is set.
    """

    _ARTICLES = frozenset({"a", "an", "the"})

    def __init__(self, *, ignore_articles: bool = False) -> None:
        self._ignored = self._ARTICLES if ignore_articles else frozenset()

    def __call__(self, prediction: Any, reference: Any) -> dict[str, float]:
        found, wanted = self._words(prediction), self._words(reference)
        shared = sum((Counter(found) & Counter(wanted)).values())
        precision, recall, f1 = f_measure(shared, len(found), len(wanted))
        return {"token_f1": f1, "precision": precision, "recall": recall}

    def _words(self, text: Any) -> list[str]:
        return [word for word in normalize(text, ignore_punctuation=True).split() if word not in self._ignored]


class RougeL:
    """F1 of the longest common subsequence of words.

    Source: Lin (2004), ROUGE: a package for automatic evaluation of summaries, section 3; sentence level, without
    stemming. Words are runs of letters and digits.
    """

    def __call__(self, prediction: Any, reference: Any) -> dict[str, float]:
        found, wanted = words(prediction), words(reference)
        precision, recall, f1 = f_measure(common_subsequence(found, wanted), len(found), len(wanted))
        return {"rouge_l": f1, "precision": precision, "recall": recall}


def words(text: Any) -> list[str]:
    """Split into lower-case runs of letters and digits."""
    import re

    return re.findall(r"[^\W_]+", str(text).lower())


def common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence; time is the product, memory the shorter length."""
    if len(second) > len(first):
        first, second = second, first
    row = [0] * (len(second) + 1)
    for one in first:
        diagonal = 0
        for index, other in enumerate(second, 1):
            above = row[index]
            row[index] = diagonal + 1 if one == other else max(above, row[index - 1])
            diagonal = above
    return row[-1]


def f_measure(shared: int, found: int, wanted: int) -> tuple[float, float, float]:
    """Return precision, recall and F1; two empty texts agree."""
    if not found and not wanted:
        return 1.0, 1.0, 1.0
    precision = shared / found if found else 0.0
    recall = shared / wanted if wanted else 0.0
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total else 0.0
