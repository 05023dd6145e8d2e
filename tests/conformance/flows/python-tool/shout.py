from promptflow.core import tool


@tool
def shout(word: str) -> str:
    return word.upper()
