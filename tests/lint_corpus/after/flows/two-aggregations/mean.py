from promptflow.core import log_metric, tool


@tool
def mean(scores: list) -> float:
    value = sum(scores) / len(scores)
    log_metric("mean", value)
    return value
