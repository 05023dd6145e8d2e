from promptflow.core import tool


@tool
def clean(text: str, lower: bool) -> str:
    return text.strip().lower() if lower else text.strip()
