import re

from promptflow.core import tool

REFUND = re.compile(r"refund|money back", re.IGNORECASE)


@tool
def classify(ticket: str) -> str:
    return "refund" if REFUND.search(ticket) else "other"
