from promptflow.core import tool


@tool
def make(word: str) -> dict:
    return {"text": word, "none": None, "list": [1, 2.5, True], "deep": {"a": {"b": word}}, "pair": (1, 2)}
