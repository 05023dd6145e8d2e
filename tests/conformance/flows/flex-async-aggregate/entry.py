from typing import TypedDict


class Size(TypedDict):
    size: int


class Measure:
    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, word: str) -> Size:
        return {"size": len(word)}

    async def __aggregate__(self, lines: list) -> dict:
        return {"mean": sum(line["size"] for line in lines) / len(lines)}
