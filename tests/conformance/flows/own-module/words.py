def loud(word: str) -> str:
    return word.upper()
