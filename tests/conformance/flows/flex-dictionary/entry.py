def shout(word: str) -> dict:
    return {"loud": word.upper(), "size": len(word)}
