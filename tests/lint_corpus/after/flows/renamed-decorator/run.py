from promptflow.core import tool as flow_tool


def measure(text: str) -> int:
    return len(text)


@flow_tool()
def run(text: str) -> dict:
    if not text:
        return {"upper": "", "size": 0}
    return {"upper": text.upper(), "size": measure(text)}
