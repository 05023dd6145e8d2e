from promptflow.core import tool


@tool
def whisper(word: str) -> str:
    return word.lower()
