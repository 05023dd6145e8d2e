from promptflow.core import tool


@tool
def loud(word: str, mark: str) -> str:
    return word.upper() + mark
