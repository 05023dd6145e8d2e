from promptflow.core import tool


@tool
def repeat(word: str, times: int, joint: str, loud: bool, marks: list, more: dict) -> str:
    text = joint.join([word] * times) + "".join(marks) + more["end"]
    return text.upper() if loud else text
