from promptflow.core import tool
from dataclasses import dataclass


@dataclass
class Answer:
    text: str
    length: int


@tool
def make(word: str) -> Answer:
    return Answer(text=word, length=len(word))
