from __future__ import annotations

import importlib
from typing import Any

import pytest

from llmops.evaluators.builtin import BUILTINS
from llmops.evaluators.builtin.classification import Classification
from llmops.evaluators.builtin.similarity import cosine
from llmops.evaluators.builtin.structure import JsonSchema, NumericClose, SetMatch
from llmops.evaluators.builtin.text import Contains, ExactMatch, Regex, RougeL, TokenF1, common_subsequence
from llmops.evaluators.builtin.usage import Usage


@pytest.mark.parametrize("name", list(BUILTINS))
def test_every_built_in_metric_is_a_class_that_takes_its_inputs(name: Any) -> None:
    module, _, cls = BUILTINS[name].entry.partition(":")
    assert callable(getattr(importlib.import_module(module), cls))
    assert BUILTINS[name].metrics


@pytest.mark.parametrize(
    ("metric", "prediction", "reference", "expected"),
    [
        (ExactMatch(), " Paris ", "Paris", 1),
        (ExactMatch(), "paris", "Paris", 0),
        (ExactMatch(ignore_case=True), "PARIS", "paris", 1),
        (ExactMatch(ignore_punctuation=True), "Paris.", "Paris", 1),
        (ExactMatch(), 3, "3", 1),
        (Contains(), "It is Paris, of course", "paris", 1),
        (Contains(), "red and blue", ["red", "green"], 0),
        (Contains(need="any"), "red and blue", ["red", "green"], 1),
        (Contains(ignore_case=False), "paris", "Paris", 0),
        (NumericClose(abs_tol=0.1), "3.14", 3.1, 1),
        (NumericClose(), "3.14", 3.1, 0),
        (NumericClose(rel_tol=0.1), 109, 100, 1),
        (NumericClose(find=True), "The total is 1,234.5 euro", 1234.5, 1),
        (NumericClose(find=True), "I do not know", 5, 0),
        (NumericClose(), float("nan"), 5, 0),
        (SetMatch(), "b, A", ["a", "b"], 1),
        (SetMatch(), [], [], 1),
        (SetMatch(), "a", "a,b", 0),
    ],
)
def test_a_pair_is_graded(metric: Any, prediction: Any, reference: Any, expected: int) -> None:
    scores = metric(prediction=prediction, reference=reference)
    assert next(iter(scores.values())) == expected


def test_a_reference_that_cannot_be_judged_is_an_error_and_no_zero() -> None:
    with pytest.raises(ValueError, match="the reference 'many' is not a number"):
        NumericClose()(prediction=3, reference="many")
    with pytest.raises(ValueError, match="empty list"):
        Contains()(prediction="x", reference=[])


def test_set_match_reports_precision_recall_f1_and_jaccard() -> None:
    scores = SetMatch()(prediction="a,b,c", reference="b,c,d,e")
    assert scores == {
        "set_match": 0,
        "precision": pytest.approx(2 / 3),
        "recall": 0.5,
        "f1": pytest.approx(4 / 7),
        "jaccard": 0.4,
    }


def test_a_pattern_from_the_data_wins_over_the_option_and_full_means_all_of_it() -> None:
    assert Regex(pattern=r"\d+")(prediction="no 42")["regex"] == 1
    assert Regex(pattern=r"\d+", full=True)(prediction="no 42")["regex"] == 0
    assert Regex(pattern="x")(prediction="no 42", pattern=r"^no")["regex"] == 1


def test_a_pattern_that_runs_away_ends_in_time_as_an_error() -> None:
    with pytest.raises(ValueError, match=r"took longer than 0\.2 s"):
        Regex(pattern=r"(a|aa)+$", timeout_s=0.2)(prediction="a" * 60 + "b")


def test_a_broken_or_missing_pattern_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a regular expression"):
        Regex(pattern="(")(prediction="x")
    with pytest.raises(ValueError, match="there is no pattern"):
        Regex()(prediction="x")


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [('{"n": 3}', (1, 1)), ('{"n": "x"}', (1, 0)), ("{", (0, 0)), ({"n": 4}, (1, 1)), ("[]", (1, 0))],
)
def test_json_is_judged_by_its_schema(prediction: Any, expected: tuple[int, int]) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    scores = JsonSchema(schema=schema)(prediction=prediction)
    assert [scores["is_json"], scores["json_schema"]] == list(expected)


def test_classification_reports_each_class_the_macro_averages_and_the_confusion() -> None:
    metric = Classification()
    pairs = [("cat", "cat"), ("cat", "dog"), ("dog", "dog"), ("bird", "dog")]
    metrics = metric.__aggregate__([metric(prediction=found, reference=wanted) for found, wanted in pairs])
    assert metrics["accuracy"] == 0.5
    assert [metrics["precision.cat"], metrics["recall.cat"]] == [0.5, 1.0]
    assert [metrics["precision.dog"], metrics["recall.dog"]] == pytest.approx([1.0, 1 / 3])
    assert [metrics["precision.bird"], metrics["recall.bird"], metrics["f1.bird"]] == [0.0, 0.0, 0.0]
    assert metrics["f1.macro"] == pytest.approx((2 / 3 + 0.5 + 0) / 3)
    assert metrics["confusion.dog.bird"] == 1


def test_token_f1_counts_shared_words_with_their_number() -> None:
    scores = TokenF1()(prediction="the cat the cat", reference="The cat sat.")
    assert scores == {"token_f1": pytest.approx(4 / 7), "precision": 0.5, "recall": pytest.approx(2 / 3)}
    assert TokenF1(ignore_articles=True)(prediction="a cat", reference="the cat")["token_f1"] == 1.0


@pytest.mark.parametrize(
    ("first", "second", "length"), [("abcde", "ace", 3), ("", "abc", 0), ("abc", "def", 0), ("aab", "azb", 2)]
)
def test_the_longest_common_subsequence(first: str, second: str, length: int) -> None:
    assert common_subsequence(first, second) == common_subsequence(second, first) == length


def test_rouge_l_is_the_f1_of_the_common_subsequence() -> None:
    scores = RougeL()(prediction="police kill the gunman", reference="police killed the gunman")
    assert scores == {"rouge_l": 0.75, "precision": 0.75, "recall": 0.75}


def test_what_was_not_measured_of_a_line_is_an_error_and_no_zero() -> None:
    assert Usage()(seconds=1.5) == {"seconds": 1.5}
    with pytest.raises(ValueError, match="not known of this line: total"):
        Usage()(prompt=3, total=None)


def test_the_cosine_of_equal_orthogonal_and_empty_vectors() -> None:
    assert cosine([1, 2], [2, 4]) == pytest.approx(1.0)
    assert cosine([1, 0], [0, 1]) == 0.0
    assert cosine([0, 0], [1, 1]) == 0.0
