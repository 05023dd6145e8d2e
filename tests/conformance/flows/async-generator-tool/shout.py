from collections.abc import AsyncIterator

from promptflow.core import tool


@tool
async def shout(word: str) -> AsyncIterator[str]:
    for letter in word:
        yield letter.upper()
