def shout(word: str) -> str:
    return word.upper()


def whisper(word: str) -> str:
    return word.lower()
