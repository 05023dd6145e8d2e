import textwrap

from promptflow.core import tool


@tool
def shorten(text: str, width: int) -> str:
    return textwrap.shorten(text, width)
