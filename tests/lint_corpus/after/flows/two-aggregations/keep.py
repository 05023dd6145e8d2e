from promptflow.core import tool


@tool
def keep(score: float) -> float:
    return score
