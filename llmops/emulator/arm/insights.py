"""Azure Monitor as far as endpoints need it: metrics by minutes, and how deployments scale.

All of it is assumed: built from the public documentation of both services, and not compared with them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from llmops.emulator.arm import endpoints
from llmops.emulator.cloud import Call
from llmops.emulator.errors import not_found, user_error
from llmops.emulator.scored import Scored
from llmops.emulator.store import Document
from llmops.emulator.wire import Response, json_response

_MINUTE_S = 60
_PERCENTILES = {"requestlatency_p50": 50, "requestlatency_p95": 95, "requestlatency_p99": 99}


def metrics(call: Call) -> Response:
    """Report metrics of an endpoint, one series per deployment (and status), one point per minute."""
    endpoints.find(call)
    query = call.request.query
    start, _, end = query.get("timespan", "").partition("/")
    key = (call.workspace.guid, call.names["endpoint"].lower())
    requests = call.cloud.scored.between(key, _seconds(start), _seconds(end))
    names = [name for name in query.get("metricnames", "").split(",") if name]
    return json_response({"value": [_metric(name, requests) for name in names]})


def _metric(name: str, requests: Sequence[Scored]) -> Document:
    wanted = name.lower()
    if wanted == "requestsperminute":
        return _series(name, requests, ("deployment", "statusCode"), len)
    if wanted in _PERCENTILES:
        percentile = _PERCENTILES[wanted]
        return _series(name, requests, ("deployment",), lambda found: _latency_ms(found, percentile))
    raise user_error(f"There is no metric '{name}'.")


def _series(
    name: str, requests: Sequence[Scored], labels: Sequence[str], value: Callable[[Sequence[Scored]], float]
) -> Document:
    groups: dict[tuple[str, ...], dict[int, list[Scored]]] = {}
    for one in requests:
        own = {"deployment": one.deployment, "statusCode": str(one.status)}
        minutes = groups.setdefault(tuple(own[label] for label in labels), {})
        minutes.setdefault(math.floor(one.at / _MINUTE_S), []).append(one)
    series = [
        {
            "metadatavalues": [
                {"name": {"value": label.lower()}, "value": text} for label, text in zip(labels, texts, strict=True)
            ],
            "data": [{"timeStamp": minute * _MINUTE_S, "average": value(found)} for minute, found in minutes.items()],
        }
        for texts, minutes in groups.items()
    ]
    return {"name": {"value": name, "localizedValue": name}, "unit": "Count", "timeseries": series}


def _latency_ms(requests: Sequence[Scored], percentile: int) -> float:
    ordered = sorted(one.duration_s for one in requests)
    return 1000 * ordered[max(0, math.ceil(percentile / 100 * len(ordered)) - 1)]


def _seconds(text: str) -> float:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()
    except ValueError as error:
        raise user_error(f"'{text}' is no time.") from error


def put_scaling(call: Call) -> Response:
    """Keep how a resource scales; nothing scales here."""
    body: Mapping[str, Any] = call.request.json()
    target = str((body.get("properties") or {}).get("targetResourceUri") or "")
    if not target:
        raise user_error("An autoscale setting needs its targetResourceUri.")
    name = call.names["name"]
    document = {"id": call.request.path, "name": name, **body}
    is_new = call.cloud.store.get("autoscale", name) is None
    call.cloud.store.put("autoscale", name, document=document)
    return json_response(document, 201 if is_new else 200)


def get_scaling(call: Call) -> Response:
    """Describe how a resource scales."""
    found = call.cloud.store.get("autoscale", call.names["name"])
    if found is None:
        raise not_found(f"autoscale setting '{call.names['name']}'")
    return json_response(found)


def delete_scaling(call: Call) -> Response:
    """Forget how a resource scales."""
    return Response(status=200 if call.cloud.store.delete("autoscale", call.names["name"]) else 204)
