from typing import Optional

from promptflow.core import tool


@tool
def join(refund: Optional[str] = None, other: Optional[str] = None) -> str:
    return refund or other or ""
