from promptflow.core import log_metric, tool


@tool
def aggregate(grades: list[int]) -> None:
    """Log the share of correct lines."""
    log_metric("accuracy", sum(grades) / len(grades))
