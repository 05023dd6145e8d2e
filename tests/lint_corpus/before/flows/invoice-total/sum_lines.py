from promptflow.core import tool


@tool
def sum_lines(invoice: dict, discount_percent: float = 0.0) -> dict:
    gross = sum(line["price"] * line["count"] for line in invoice["lines"])
    return {"total": round(gross * (1 - discount_percent / 100), 2), "currency": invoice["currency"]}
