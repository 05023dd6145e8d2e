from promptflow.core import tool


@tool
def shout(word: str) -> str:
    """Write a word in capitals; refuse the empty word."""
    if not word:
        raise ValueError("nothing to shout")
    return word.upper()
