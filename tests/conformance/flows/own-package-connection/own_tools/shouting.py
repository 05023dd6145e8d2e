from promptflow.connections import CustomConnection
from promptflow.core import tool


@tool
def shout(word: str, service: CustomConnection) -> str:
    return f"{word} {service.region} {len(service.token)}"
