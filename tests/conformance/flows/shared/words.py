def loud(word: str) -> str:
    return f"{word.upper()}!"
