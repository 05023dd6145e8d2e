import os


def shout(word: str) -> str:
    return f"{word} {os.environ.get('TONE', 'none')}"
