from collections import Counter

import promptflow.core as pf


@pf.tool
def count(labels: list):
    for label, number in Counter(labels).items():
        pf.log_metric(f"count.{label}", number)
