"""How much of the quota is used."""

from __future__ import annotations

import re

from llmops.emulator.cloud import PROVIDER, Call
from llmops.emulator.wire import Response, json_response


def usages(call: Call) -> Response:
    """Report the one quota that is emulated: cores of all managed online deployments.

    Source: the operation `Usages_List` of the public specification; which names the service uses is assumed.
    """
    used = cores_in_use(call)
    name = {
        "value": "Total Cluster Dedicated Regional vCPUs",
        "localizedValue": "Total Cluster Dedicated Regional vCPUs",
    }
    entry = {
        "id": call.request.path,
        "type": f"{PROVIDER}/usages",
        "unit": "Count",
        "currentValue": used,
        "limit": call.cloud.settings.core_quota,
        "name": name,
    }
    return json_response({"value": [entry]})


def cores_in_use(call: Call, without: str = "") -> int:
    """Count the cores of all deployments of this subscription, but for one deployment's own."""
    total = 0
    for deployment in call.cloud.store.children("deployments-index"):
        if deployment["subscription"] == call.request.path.split("/")[2].lower() and deployment["id"] != without:
            total += deployment["cores"]
    return total


def cores_of(instance_type: str, count: int) -> int:
    """Count the cores of a deployment; the number is the first in the type's name, for instance 3 in `DS3_v2`.

    `DS` types of the second version double with each step: `DS3_v2` has four.
    """
    match = re.search(r"_[A-Z]+(\d+)", instance_type, re.IGNORECASE)
    number = int(match.group(1)) if match else 1
    if re.search(r"_DS?\d_v2$", instance_type, re.IGNORECASE):
        number = 2 ** (number - 1)
    return number * count
