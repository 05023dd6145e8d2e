from promptflow.core import tool

EXAMPLES = [
    {"sentence": "What a lovely morning on the river", "mood": "good"},
    {"sentence": "The train was late for the third time", "mood": "bad"},
]


@tool
def examples() -> list:
    return EXAMPLES
