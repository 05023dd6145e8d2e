from promptflow.core import tool
from promptflow.core import log_metric


@tool
def mean(sizes: list) -> float:
    log_metric("mean", sum(sizes) / len(sizes))
    log_metric("lines", len(sizes))
    return sum(sizes) / len(sizes)
