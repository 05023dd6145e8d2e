from promptflow.core import tool


@tool
def grade(expected: str, found: str) -> int:
    return int(expected == found)
