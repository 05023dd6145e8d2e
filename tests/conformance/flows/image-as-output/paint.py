from pathlib import Path

from promptflow.contracts.multimedia import Image
from promptflow.core import tool


@tool
def paint(word: str) -> Image:
    return Image(Path("red.png").read_bytes() + word.encode(), mime_type="image/png")
