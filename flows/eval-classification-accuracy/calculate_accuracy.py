"""Aggregate the grades of all lines into metrics."""

from collections import Counter

from promptflow.core import log_metric, tool


@tool
def calculate_accuracy(grades: list[dict[str, object]]) -> dict[str, float]:
    """Log accuracy, and precision, recall and F1 for each class of the ground truth and as their plain (macro) means.

    A class that was never predicted has precision 0, as no prediction of it was right.
    """
    metrics = compute_metrics([(str(line["expected"]), str(line["found"])) for line in grades])
    for name, value in metrics.items():
        log_metric(name, value)
    return metrics


def compute_metrics(pairs: list[tuple[str, str]]) -> dict[str, float]:
    """Compute the metrics of (expected, found) pairs; none for no pairs, because nothing was measured."""
    if not pairs:
        return {}
    hits = Counter(expected for expected, found in pairs if expected == found)
    expected_counts = Counter(expected for expected, _ in pairs)
    found_counts = Counter(found for _, found in pairs)
    metrics = {"accuracy": sum(hits.values()) / len(pairs)}
    classes = sorted(expected_counts)
    for name in classes:
        precision = hits[name] / found_counts[name] if found_counts[name] else 0.0
        recall = hits[name] / expected_counts[name]
        metrics[f"precision.{name}"] = precision
        metrics[f"recall.{name}"] = recall
        metrics[f"f1.{name}"] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    for measure in ("precision", "recall", "f1"):
        metrics[f"macro_{measure}"] = sum(metrics[f"{measure}.{name}"] for name in classes) / len(classes)
    return metrics
