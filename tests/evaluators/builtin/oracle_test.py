"""Built-in metrics beside the libraries that people know; those are here as oracles only."""

from __future__ import annotations

import random
import warnings
from typing import Any

import pytest

from llmops.evaluators.builtin.agreement import Agreement
from llmops.evaluators.builtin.classification import Classification
from llmops.evaluators.builtin.text import RougeL

LABELS = ["movie", "app", "pdf", "none"]
VOCABULARY = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "another", "small", "run", "over", "that", "quickly"]


@pytest.mark.parametrize("seed", range(20))
def test_classification_agrees_with_scikit_learn(seed: int) -> None:
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    chance = random.Random(seed)
    wanted = [chance.choice(LABELS) for _ in range(chance.randint(1, 60))]
    found = [one if chance.random() < 0.6 else chance.choice(LABELS) for one in wanted]
    metric = Classification()
    lines = [metric(prediction=new, reference=old) for new, old in zip(found, wanted, strict=True)]
    metrics = metric.__aggregate__(lines)
    labels = sorted({*wanted, *found})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = precision_recall_fscore_support(wanted, found, labels=labels, zero_division=0)
        averages = precision_recall_fscore_support(wanted, found, labels=labels, average="macro", zero_division=0)
    assert metrics["accuracy"] == pytest.approx(accuracy_score(wanted, found))
    for index, name in enumerate(("precision", "recall", "f1")):
        assert [metrics[f"{name}.{label}"] for label in labels] == pytest.approx(list(scores[index]))
        assert metrics[f"{name}.macro"] == pytest.approx(averages[index])


@pytest.mark.parametrize("weights", ["nominal", "linear", "quadratic"])
@pytest.mark.parametrize("seed", range(10))
def test_kappa_agrees_with_scikit_learn(seed: int, weights: Any) -> None:
    from sklearn.metrics import cohen_kappa_score

    chance = random.Random(seed)
    people = [chance.randint(1, 5) for _ in range(chance.randint(10, 60))]
    judge = [one if chance.random() < 0.6 else chance.randint(1, 5) for one in people]
    metric = Agreement(weights=weights)
    lines = [
        metric(prediction=new, reference=old, row=row) for row, (new, old) in enumerate(zip(judge, people, strict=True))
    ]
    theirs = cohen_kappa_score(people, judge, weights=None if weights == "nominal" else weights)
    assert metric.__aggregate__(lines)["kappa"] == pytest.approx(theirs)


@pytest.mark.parametrize("seed", range(20))
def test_rouge_l_agrees_with_rouge_score(seed: int) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    chance = random.Random(seed)
    first, second = (" ".join(chance.choices(VOCABULARY, k=chance.randint(1, 25))) for _ in range(2))
    theirs = RougeScorer(["rougeL"], use_stemmer=False).score(second, first)["rougeL"]
    ours = RougeL()(prediction=first, reference=second)
    assert [ours["precision"], ours["recall"], ours["rouge_l"]] == pytest.approx(
        [theirs.precision, theirs.recall, theirs.fmeasure]
    )
