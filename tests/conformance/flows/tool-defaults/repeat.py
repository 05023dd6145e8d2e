from promptflow.core import tool


@tool
def repeat(word: str, times: int = 2) -> str:
    return word * times
