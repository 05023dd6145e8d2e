from promptflow.core import ToolProvider, tool


class Greeter(ToolProvider):
    def __init__(self, greeting: str):
        self.greeting = greeting

    @tool
    def greet(self, text: str) -> str:
        return f"{self.greeting}, {text}"
