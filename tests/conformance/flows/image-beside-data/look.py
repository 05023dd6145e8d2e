from promptflow.core import tool
from promptflow.contracts.multimedia import Image


@tool
def look(picture: Image) -> str:
    return f"{picture._mime_type} {len(bytes(picture))}"
