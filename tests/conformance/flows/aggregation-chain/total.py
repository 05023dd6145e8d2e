from promptflow.core import tool


@tool
def total(sizes: list) -> int:
    return sum(sizes)
