from promptflow.core import tool


@tool
def shout(word: str) -> str:
    if word == "two":
        raise ValueError("not two")
    return word.upper()
