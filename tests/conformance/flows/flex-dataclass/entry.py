from dataclasses import dataclass


@dataclass
class Said:
    loud: str
    size: int


def shout(word: str) -> Said:
    return Said(loud=word.upper(), size=len(word))
