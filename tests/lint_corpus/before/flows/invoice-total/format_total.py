from promptflow.core import tool


@tool
def format_total(total: float, currency: str) -> str:
    return f"{total:.2f} {currency}"
