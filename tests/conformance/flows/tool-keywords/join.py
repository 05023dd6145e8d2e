from promptflow.core import tool


@tool
def join(word: str, **rest: str) -> str:
    return word + "".join(f"{k}{v}" for k, v in sorted(rest.items()))
