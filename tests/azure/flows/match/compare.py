from promptflow.core import tool


@tool
def compare(loud: str, expected: str) -> bool:
    return loud == expected
