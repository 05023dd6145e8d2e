"""Accuracy, precision, recall, F1 and the confusion matrix of a classifier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from llmops.evaluators.builtin.text import normalize


class Classification:
    """Grade each line, then report per class and on average.

    Precision and recall of a class without predictions or without rows are 0, and the macro average counts each class
    that occurs as reference or prediction once. `confusion.REFERENCE.PREDICTION` is a number of rows.

    Source: Sokolova and Lapalme (2009), A systematic analysis of performance measures for classification tasks.
    """

    def __init__(self, *, ignore_case: bool = True) -> None:
        self._ignore_case = ignore_case

    def __call__(self, prediction: Any, reference: Any) -> dict[str, Any]:
        found = normalize(prediction, ignore_case=self._ignore_case)
        wanted = normalize(reference, ignore_case=self._ignore_case)
        return {"correct": int(found == wanted), "prediction": found, "reference": wanted}

    def __aggregate__(self, lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return the metrics over all lines; none for no lines."""
        if not lines:
            return {}
        pairs = Counter((line["reference"], line["prediction"]) for line in lines)
        labels = sorted({label for pair in pairs for label in pair})
        metrics = {"accuracy": sum(pairs[label, label] for label in labels) / len(lines)}
        scores = {label: _scores(label, pairs) for label in labels}
        for index, name in enumerate(("precision", "recall", "f1")):
            metrics[f"{name}.macro"] = sum(score[index] for score in scores.values()) / len(labels)
            metrics |= {f"{name}.{label}": score[index] for label, score in scores.items()}
        return metrics | {f"confusion.{wanted}.{found}": count for (wanted, found), count in sorted(pairs.items())}


def _scores(label: str, pairs: Counter[tuple[str, str]]) -> tuple[float, float, float]:
    right = pairs[label, label]
    predicted = sum(count for (_, found), count in pairs.items() if found == label)
    actual = sum(count for (wanted, _), count in pairs.items() if wanted == label)
    precision = right / predicted if predicted else 0.0
    recall = right / actual if actual else 0.0
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total else 0.0
