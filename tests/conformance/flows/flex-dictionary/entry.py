def shout(word: str):
    return {"loud": word.upper(), "size": len(word)}
