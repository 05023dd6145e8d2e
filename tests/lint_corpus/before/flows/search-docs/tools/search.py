import asyncio
from typing import Any

from promptflow.connections import CustomConnection
from promptflow.core import tool


@tool
async def search(service: CustomConnection, vector: list, limit: int = 5, **filters: Any) -> list:
    await asyncio.sleep(0)
    return [{"index": service.configs["index"], "size": len(vector), "filters": filters}] * limit
