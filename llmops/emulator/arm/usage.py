"""How much of the quota is used."""

from __future__ import annotations

import re

from llmops.emulator.cloud import PROVIDER, Call
from llmops.emulator.errors import not_found
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


_SIZES = {
    "Standard_DS1_v2": ("standardDSv2Family", 1),
    "Standard_DS2_v2": ("standardDSv2Family", 2),
    "Standard_DS3_v2": ("standardDSv2Family", 4),
    "Standard_DS4_v2": ("standardDSv2Family", 8),
    "Standard_F2s_v2": ("standardFSv2Family", 2),
    "Standard_F4s_v2": ("standardFSv2Family", 4),
    "Standard_E4s_v3": ("standardESv3Family", 4),
}


def sizes(call: Call) -> Response:
    """List some sizes of machines.

    Source: the operation `VirtualMachineSizes_List` of the public specification.
    """
    del call
    listed = [{"name": name, "family": family, "vCPUs": cores} for name, (family, cores) in _SIZES.items()]
    return json_response({"value": listed})


def model_deployment(call: Call) -> Response:
    """Describe a deployment of a model of Azure OpenAI (assumed: `Microsoft.CognitiveServices`, 2024-10-01)."""
    name = call.names["deployment"]
    model = call.cloud.settings.model_deployments.get(name)
    if model is None:
        raise not_found(f"deployment '{name}' of account '{call.names['account']}'")
    return json_response(
        {"id": call.request.path, "name": name, "properties": {"model": {"format": "OpenAI", **model}}}
    )


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
