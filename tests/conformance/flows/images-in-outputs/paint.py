from pathlib import Path

from promptflow.contracts.multimedia import Image
from promptflow.core import tool


@tool
def paint(word: str) -> list:
    picture = Image(Path("red.png").read_bytes(), mime_type="image/png")
    return [word, {"picture": picture}]
