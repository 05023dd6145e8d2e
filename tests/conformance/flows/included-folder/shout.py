from promptflow.core import tool
from pathlib import Path


@tool
def shout(word: str) -> str:
    return Path("lexicon/prefix.txt").read_text().strip() + word
