"""What live requests showed, from Azure Monitor (assumed: names and dimensions are those of the documentation).

Azure counts by whole minutes and shows a minute some minutes late, so the steps of a rollout must be watched for longer
than on this machine. It also counts requests that were addressed past the split.

Source: https://learn.microsoft.com/azure/azure-monitor/reference/supported-metrics/, workspaces/onlineEndpoints.
"""

from __future__ import annotations

import math
import urllib.parse
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from llmops.backends.azure.arm import Arm, Document
from llmops.core.endpoint import Window

VERSION = "2018-01-01"
REQUESTS = "RequestsPerMinute"
LATENCIES: Mapping[int, str] = {50: "RequestLatency_P50", 95: "RequestLatency_P95", 99: "RequestLatency_P99"}
_MINUTE_S = 60
_FAILED = frozenset({408, 424})
"""Besides 500 and above: the container did not answer in time, or it answered that the flow failed."""
_SERVER_ERROR = 500


def measure(arm: Arm, endpoint: str, *, start: float, end: float) -> Mapping[str, Window]:
    """See `Endpoints.measure`; percentiles are the largest of the minutes' own."""
    counts: dict[str, dict[str, float]] = {}
    for series in _series(arm, endpoint, [REQUESTS], "deployment eq '*' and statusCode eq '*'", start, end):
        labels = _labels(series)
        total = sum(point.get("average") or point.get("total") or 0.0 for point in series.get("data", []))
        by_status = counts.setdefault(labels.get("deployment", ""), {})
        by_status[labels.get("statuscode", "")] = by_status.get(labels.get("statuscode", ""), 0.0) + total
    latencies = _latencies(arm, endpoint, start, end) if any(map(dict.values, counts.values())) else {}
    return {name: _window(by_status, latencies.get(name, {})) for name, by_status in counts.items() if name}


def _window(by_status: Mapping[str, float], latency_s: Mapping[int, float]) -> Window:
    requests = round(sum(by_status.values()))
    errors = round(sum(count for status, count in by_status.items() if _is_error(status)))
    return Window(requests=requests, errors=errors, latency_s=latency_s if requests else {})


def _latencies(arm: Arm, endpoint: str, start: float, end: float) -> Mapping[str, Mapping[int, float]]:
    found: dict[str, dict[int, float]] = {}
    percentiles = {name.lower(): percentile for percentile, name in LATENCIES.items()}
    for series in _series(arm, endpoint, list(LATENCIES.values()), "deployment eq '*'", start, end):
        values = [point["average"] for point in series.get("data", []) if point.get("average") is not None]
        if values:
            percentile = percentiles[str(series["metric"]).lower()]
            found.setdefault(_labels(series).get("deployment", ""), {})[percentile] = max(values) / 1000
    return found


def _series(arm: Arm, endpoint: str, names: list[str], condition: str, start: float, end: float) -> Iterator[Document]:
    query = {
        "metricnames": ",".join(names),
        "timespan": f"{_minute(math.floor(start / _MINUTE_S))}/{_minute(math.ceil(end / _MINUTE_S))}",
        "interval": "PT1M",
        "aggregation": "Average",
        "$filter": condition,
        "top": "1000",
    }
    path = f"{arm.path(f'onlineEndpoints/{endpoint}')}/providers/Microsoft.Insights/metrics"
    url = f"{path}?{urllib.parse.urlencode(query)}"
    found = arm.get(url, version=VERSION, what=f"read the metrics of the endpoint '{endpoint}'") or {}
    for metric in found.get("value", []):
        for series in metric.get("timeseries", []):
            yield {**series, "metric": metric["name"]["value"]}


def _labels(series: Mapping[str, Any]) -> dict[str, str]:
    return {one["name"]["value"].lower(): str(one["value"]) for one in series.get("metadatavalues", [])}


def _is_error(status: str) -> bool:
    return status.isdecimal() and (int(status) >= _SERVER_ERROR or int(status) in _FAILED)


def _minute(number: int) -> str:
    return datetime.fromtimestamp(number * _MINUTE_S, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
