class Shout:
    def __init__(self) -> None:
        self.lines = 0

    def __call__(self, word: str):
        return {"size": len(word)}

    def __aggregate__(self, lines: list) -> dict:
        return {"mean": sum(line["size"] for line in lines) / len(lines)}
