from promptflow.core import tool


@tool
def check(text: str) -> bool:
    return bool(text)
