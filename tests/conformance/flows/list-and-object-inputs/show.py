from promptflow.core import tool


@tool
def show(items: list, page: dict) -> str:
    return repr([sorted(items), sorted(page)])
