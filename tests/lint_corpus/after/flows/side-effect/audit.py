import logging

from promptflow.core import tool


@tool
def audit(text: str) -> None:
    logging.getLogger("audit").info("%s", text)
