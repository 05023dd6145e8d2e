from promptflow.core import tool


@tool
def shout(word: str):
    for letter in word:
        yield letter.upper()
