from promptflow.core import tool


@tool
def count(text: str, unit: str = "words") -> str:
    return f"{len(text.split())} {unit}"
