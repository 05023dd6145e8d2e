from promptflow.core import tool
import os


@tool
def shout(word: str) -> str:
    return f"{word} {os.environ.get('TONE', 'none')}"
