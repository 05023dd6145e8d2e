from promptflow.core import tool
import asyncio


@tool
async def shout(word: str) -> str:
    await asyncio.sleep(0)
    return word.upper()
