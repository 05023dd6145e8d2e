from cleaning import without_quotes
from promptflow.core import tool


@tool
def clean(text: str) -> str:
    return without_quotes(text)
