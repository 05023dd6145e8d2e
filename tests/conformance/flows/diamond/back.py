from promptflow.core import tool


@tool
def back(word: str) -> str:
    return word[::-1]
