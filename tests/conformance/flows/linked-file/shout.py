from promptflow.core import tool
from words import loud


@tool
def shout(word: str) -> str:
    return loud(word)
