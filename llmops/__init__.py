"""CI/CD for LLM applications built as flows."""

__version__ = "0.1.0"
