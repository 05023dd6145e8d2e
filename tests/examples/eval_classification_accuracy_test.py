"""The example's evaluation flow: what it grades and what it logs."""

from __future__ import annotations

import importlib.util
import types
from pathlib import Path

import pytest

FLOW = Path(__file__).parents[2] / "flows/eval-classification-accuracy"


def load(name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, FLOW / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_grades_without_regard_to_case_and_space() -> None:
    grade = load("grade").grade
    assert grade("PDF", " pdf ") == {"grade": "Correct", "correct": 1, "expected": "pdf", "found": "pdf"}
    assert grade("PDF", "App")["grade"] == "Incorrect"
    assert grade("PDF", "App")["correct"] == 0


def test_metrics_are_those_computed_by_hand() -> None:
    pairs = [("a", "a"), ("a", "b"), ("b", "b"), ("b", "c")]
    metrics = load("calculate_accuracy").compute_metrics(pairs)
    assert metrics["accuracy"] == 0.5
    assert (metrics["precision.a"], metrics["recall.a"]) == (1.0, 0.5)
    assert (metrics["precision.b"], metrics["recall.b"], metrics["f1.b"]) == (0.5, 0.5, 0.5)
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 0.5) / 2)
    assert "precision.c" not in metrics


def test_a_class_that_was_never_predicted_has_precision_zero() -> None:
    metrics = load("calculate_accuracy").compute_metrics([("a", "b")])
    assert (metrics["precision.a"], metrics["recall.a"], metrics["f1.a"]) == (0.0, 0.0, 0.0)


def test_no_lines_give_no_metrics() -> None:
    assert load("calculate_accuracy").compute_metrics([]) == {}
