from promptflow.core import tool


@tool
def grade(expected: str, answer: str) -> int:
    if expected == "crash":
        raise RuntimeError("the grader gave up")
    return int(expected == answer)
