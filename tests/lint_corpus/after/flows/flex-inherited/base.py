class Base:
    prefix = ""

    async def __call__(self, *, text: str, **rest: str) -> str:
        return f"{self.prefix}: {text} {len(rest)}"
