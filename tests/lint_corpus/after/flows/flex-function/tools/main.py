from tools.parts import join


def answer(question: str, words: int = 3, *, polite: bool = True) -> str:
    return join(question.split()[:words], polite)
