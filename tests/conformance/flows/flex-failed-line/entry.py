def shout(word: str) -> str:
    if word == "two":
        raise ValueError("not two")
    return word.upper()
