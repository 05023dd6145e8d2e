from promptflow.core import tool
from promptflow.connections import CustomConnection


@tool
def ask(word: str, service: CustomConnection) -> str:
    return f"{word} {service.region} {len(service.token)}"
