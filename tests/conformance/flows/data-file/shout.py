from promptflow.core import tool
from pathlib import Path


@tool
def shout(word: str) -> str:
    return Path("suffix.txt").read_text().strip() + word
