from promptflow.core import tool


@tool
def parts(word: str) -> dict:
    return {"letters": list(word)}
