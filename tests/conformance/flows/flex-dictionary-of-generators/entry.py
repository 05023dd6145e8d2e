def shout(word: str):
    return {"loud": (letter.upper() for letter in word), "size": len(word)}
