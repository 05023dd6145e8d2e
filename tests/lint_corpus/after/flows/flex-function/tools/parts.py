def join(words: list[str], polite: bool) -> str:
    return " ".join(words) + (", please" if polite else "")
