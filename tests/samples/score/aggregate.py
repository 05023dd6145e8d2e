from typing import List

from promptflow.core import log_metric, tool


@tool
def aggregate(grades: List[int]) -> None:
    log_metric("accuracy", sum(grades) / len(grades))
