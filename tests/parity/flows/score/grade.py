from promptflow.core import tool


@tool
def grade(expected: str, found: str) -> int:
    """Score a line: 1 when it is as expected, else 0."""
    return int(expected == found)
