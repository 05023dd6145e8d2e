def shout(word: str, times: int = 2) -> str:
    return word * times
