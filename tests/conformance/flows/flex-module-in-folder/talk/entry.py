from talk.words import loud


def shout(word: str) -> str:
    return loud(word)
