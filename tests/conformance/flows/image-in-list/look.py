from promptflow.core import tool


@tool
def look(parts: list) -> str:
    return " ".join(part if isinstance(part, str) else f"<{part._mime_type} {len(bytes(part))}>" for part in parts)
