from promptflow.core import tool


@tool
def size(word: str) -> int:
    return len(word)
