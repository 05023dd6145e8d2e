from promptflow.core import tool


@tool
def shout(word: str, times: int) -> str:
    return word.upper() * times
