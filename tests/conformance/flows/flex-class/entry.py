class Shout:
    def __init__(self, mark: str = "?") -> None:
        self.mark = mark

    def __call__(self, word: str) -> str:
        return word.upper() + self.mark
