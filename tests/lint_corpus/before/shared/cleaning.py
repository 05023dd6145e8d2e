def without_quotes(text: str) -> str:
    return text.strip().strip('"')
