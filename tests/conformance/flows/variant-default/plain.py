from promptflow.core import tool


@tool
def plain(word: str) -> str:
    return word
