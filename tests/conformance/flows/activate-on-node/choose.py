from promptflow.core import tool


@tool
def choose(word: str) -> str:
    return "loud" if len(word) == 3 else "soft"
