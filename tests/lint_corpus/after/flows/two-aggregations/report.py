from promptflow.core import log_metric, tool


@tool
def report(mean: float, raw: list):
    log_metric("rows", len(raw))
    return mean
