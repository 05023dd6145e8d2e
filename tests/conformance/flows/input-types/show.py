from promptflow.core import tool


@tool
def show(a, b, c, d) -> str:
    return repr([a, b, c, d])
