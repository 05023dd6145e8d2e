from promptflow.core import tool


@tool
def shout(text: str) -> str:
    print(f"shouting {text}")
    if text == "quiet":
        raise ValueError("there is nothing to shout")
    return text.upper()
