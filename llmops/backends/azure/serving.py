"""Settings of deployments on Azure: the section `serving` of an environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llmops.config.document import Steps, dotted
from llmops.config.schema import object_schema
from llmops.config.validate import validate
from llmops.core.declare import setting
from llmops.core.documents import from_json
from llmops.errors import Problem, UsageError

RUNTIME = "mcr.microsoft.com/azureml/promptflow/promptflow-runtime:latest"
PYTHON_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest"
LONGEST_REQUEST_S = 90


@dataclass(frozen=True, kw_only=True)
class Autoscale:
    """How the number of instances follows the load (assumed, see the page on Azure)."""

    min_instances: int = setting("Instances at least.", default=1, minimum=1)
    max_instances: int = setting("Instances at most.", minimum=1)
    cpu_out_percent: float = setting("CPU above which an instance is added.", default=70.0, minimum=1, maximum=100)
    cpu_in_percent: float = setting("CPU below which an instance is removed.", default=25.0, minimum=0, maximum=99)


@dataclass(frozen=True, kw_only=True)
class DataCollector:
    """Collection of requests and answers by Azure Machine Learning; they may hold personal data."""

    sampling_rate: float = setting("Share of requests, 0 to 1.", default=1.0, minimum=0, maximum=1)
    collections: Sequence[str] = setting("What is collected.", default=("model_inputs", "model_outputs"))


@dataclass(frozen=True, kw_only=True)
class AzureServing:
    """Settings of endpoints and deployments on Azure."""

    instance_type: str = setting("Size of each instance.", default="Standard_DS3_v2", minLength=1)
    instance_count: int = setting("Instances, unless `autoscale` decides.", default=1, minimum=1)
    autoscale: Autoscale | None = setting("Let the number of instances follow the load.", default=None)
    request_timeout_s: float = setting(
        "Seconds until a request is given up; Azure allows at most 90.",
        default=90.0,
        exclusiveMinimum=0,
        maximum=LONGEST_REQUEST_S,
    )
    max_concurrent_requests: int = setting("Requests that one instance works on at once.", default=10, minimum=1)
    max_queue_wait_s: float = setting("Seconds that a request may wait for its turn.", default=5.0, minimum=0)
    start_timeout_s: float = setting("Seconds after which the first health check is made.", default=20.0, minimum=0)
    app_insights: bool = setting("Send logs and metrics to the workspace's Application Insights.", default=True)
    data_collector: DataCollector | None = setting("Collect requests and answers.", default=None)
    identities: Sequence[str] = setting(
        "Resource ids of user-assigned identities of the endpoint; its own identity when left out.", default=()
    )
    auth_mode: Literal["key", "aad_token"] = setting("How callers prove who they are.", default="key")
    public_network_access: bool = setting("Whether the endpoint is reached from outside its network.", default=True)
    egress_public: bool = setting("Whether deployments may reach the public network.", default=True)
    image: str = setting(
        "Image of the container; prompt flow's runtime, or a plain image for Python flows, when left out.", default=""
    )
    environment: str = setting(
        "A registered environment, azureml:name:version, instead of one that llmops makes.",
        default="",
        pattern="^(azureml:[^:@]+:[^:@]+)?$",
    )
    python: str = setting("Version of Python for Python flows.", default="3.11")
    deadline_s: float = setting(
        "Seconds that a change of an endpoint, or the removal of a deployment, may take.", default=1800.0, minimum=1
    )


def read_serving(settings: Mapping[str, Any], where: str) -> AzureServing:
    """Read the settings of a deployment.

    Args:
        settings: as the environment's file has them.
        where: for messages.

    Raises:
        UsageError: every key that is unknown and every value that is out of range.
    """
    problems: list[Problem] = []

    def report(path: Steps, what: str, *, found: str = "", expected: str = "", fix: str = "") -> None:
        problems.append(Problem(what=what, where=f"{where}: {dotted(path)}", found=found, expected=expected, fix=fix))

    values = validate(dict(settings), object_schema(AzureServing), ("serving",), report)
    if problems:
        raise UsageError(*problems)
    read: AzureServing = from_json(AzureServing, values)
    if read.autoscale and read.autoscale.max_instances < read.autoscale.min_instances:
        raise UsageError.of("a maximum below the minimum", where=f"{where}: serving.autoscale")
    return read
