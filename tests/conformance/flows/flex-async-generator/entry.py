async def shout(word: str):
    for letter in word:
        yield letter.upper()
