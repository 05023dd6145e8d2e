"""Grade one line."""

from promptflow.core import tool


@tool
def grade(groundtruth: str, prediction: str) -> dict[str, object]:
    """Compare a prediction with the ground truth; case and surrounding space do not count."""
    expected, found = fold(groundtruth), fold(prediction)
    correct = expected == found
    return {
        "grade": "Correct" if correct else "Incorrect",
        "correct": int(correct),
        "expected": expected,
        "found": found,
    }


def fold(name: str) -> str:
    """Fold a class name for comparison and for use in a metric's name."""
    return "_".join(str(name).casefold().split())
