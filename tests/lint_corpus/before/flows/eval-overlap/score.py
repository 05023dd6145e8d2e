from promptflow.core import tool


@tool
def score(expected: str, answer: str) -> float:
    wanted, found = set(expected.lower().split()), set(answer.lower().split())
    return len(wanted & found) / len(wanted) if wanted else 0.0
