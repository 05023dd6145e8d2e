from promptflow.core import tool


@tool
def repeat(word: str, times: int) -> str:
    return word * times
