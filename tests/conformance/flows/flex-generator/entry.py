from typing import Iterator


def shout(word: str) -> Iterator[str]:
    for letter in word:
        yield letter.upper()
