from promptflow.core import log_metric, tool


@tool
def sum_up(grades: list):
    log_metric("accuracy", sum(grades) / len(grades))
