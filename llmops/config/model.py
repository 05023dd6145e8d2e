"""What a user configures, as frozen values.

The published JSON Schemas are generated from these classes: a field's `doc` is the description that editors show, and
the other metadata are JSON Schema keywords.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from llmops.core.declare import setting
from llmops.core.limits import BuiltinName, Gate, MetricSpec
from llmops.core.prices import Price
from llmops.core.release_rules import Requires, Rollout

ConnectionType = Literal["stand_in", "open_ai", "azure_open_ai", "serverless", "custom", "workspace"]
JobIdentity = Literal["automatic", "managed", "user", "none"]
AzureIdentity = Literal["environment", "github", "azure_pipelines", "workload", "managed_identity", "cli"]
HistoryStoreName = Literal["folder", "artifact", "branch", "blob"]

NAME = "^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""Names that become part of paths, such as an experiment's."""
PLAIN_NAME = "^[A-Za-z0-9][A-Za-z0-9_-]*$"
"""Names that stand before a dot, such as an evaluator's in `evaluator.metric`."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Rows to run: a JSON Lines or CSV file."""

    path: str = setting("JSON Lines (.jsonl) or CSV (.csv) file, relative to the repository.", minLength=1)


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """What scores the lines of a run: a flow (or a Python callable, or a `.prompty` judge), or a built-in metric."""

    flow: str = setting(
        "Folder of the evaluation flow, a .prompty file or a Python callable such as package.module:function.",
        default="",
    )
    builtin: BuiltinName | None = setting("A built-in metric, instead of a flow.", default=None)
    options: Mapping[str, Any] = setting("Options of the built-in metric.", factory=dict)
    column_mapping: Mapping[str, Any] = setting(
        "Flow input to ${data.column}, ${run.outputs.name}, ${run.inputs.name}, ${run.line.name} or a literal.",
        factory=dict,
    )
    metrics: Mapping[str, MetricSpec] = setting("Metric name to how it follows from the rows.", factory=dict)
    variants: Mapping[str, str] = setting("Node to variant.", factory=dict)
    nodes: Mapping[str, Mapping[str, str]] = setting(
        "Node to what it uses instead: connection, deployment_name, model, or an input that takes a connection.",
        factory=dict,
    )
    init: Mapping[str, Any] = setting("Arguments of the class that a flex flow or a callable is.", factory=dict)
    python: str = setting(
        "Python that runs the flow: a path, or auto for an environment made from its requirements.txt; llmops's own "
        "when left out.",
        default="",
    )
    environment_variables: Mapping[str, str] = setting("Set in the worker process.", factory=dict)
    repeat: int = setting("Measurements of each line, averaged: for judges.", default=1, minimum=1)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What one command may spend on this experiment's model calls: baseline and evaluators included."""

    usd: float | None = setting("US dollars; needs a price for every model that is called.", default=None, minimum=0)
    tokens: int | None = setting("Prompt and completion tokens.", default=None, minimum=0)


@dataclass(frozen=True, kw_only=True)
class Scheduled:
    """What `llmops evaluate --scheduled` measures of an experiment."""

    datasets: Sequence[str] = setting("Data sets; the experiment's own when left out.", factory=tuple)
    flow: bool = setting("Whether the flow is evaluated as it is checked out, on the main branch.", default=True)
    endpoints: bool = setting("Whether what environments serve is evaluated, through its own address.", default=True)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One use case: a flow, its data, its evaluators, its gate."""

    name: str = setting("Name; the file's stem when left out.", default="", pattern=NAME)
    description: str = setting("One sentence for people.", default="")
    flow: str = setting("Folder of the flow, relative to the repository.", minLength=1)
    variants: Mapping[str, str] = setting("Node to variant; the flow's defaults when left out.", factory=dict)
    nodes: Mapping[str, Mapping[str, str]] = setting(
        "Node to what it uses instead: connection, deployment_name, model, or an input that takes a connection.",
        factory=dict,
    )
    init: Mapping[str, Any] = setting("Arguments of the class that a flex flow or a callable is.", factory=dict)
    python: str = setting(
        "Python that runs the flow: a path, or auto for an environment made from its requirements.txt; llmops's own "
        "when left out.",
        default="",
    )
    datasets: Mapping[str, Dataset] = setting("Name to data set.", minProperties=1)
    dataset: str = setting("Data set that is used unless another is named; the first when left out.", default="")
    column_mapping: Mapping[str, Any] = setting(
        "Flow input to ${data.column} or a literal; inputs left out take the column of the same name.", factory=dict
    )
    evaluators: Mapping[str, Evaluator] = setting(
        "Name to evaluator.", factory=dict, propertyNames={"pattern": PLAIN_NAME}
    )
    gate: Gate = setting("Limits.", factory=Gate)
    environment: str = setting("Environment that is used unless another is named.", default="local")
    environment_variables: Mapping[str, str] = setting("Set in the worker process.", factory=dict)
    concurrency: int = setting("Lines in flight at once.", default=16, minimum=1, maximum=1024)
    line_timeout_s: float = setting("Seconds that one line may take.", default=600.0, exclusiveMinimum=0)
    repeat: int = setting("Measurements of each row.", default=1, minimum=1)
    redact: bool = setting(
        "Keep inputs, outputs and errors of rows out of logs, reports, comments and artifacts.", default=False
    )
    budget: Budget = setting("Hard stop: rows that it leaves over are unmeasured.", factory=Budget)
    scheduled: Scheduled = setting("What scheduled evaluations measure.", factory=Scheduled)


@dataclass(frozen=True, kw_only=True)
class PartOf:
    """Marks a mapping that holds some of the keys of a configuration class.

    Attributes:
        cls: the class whose keys they are; what is required there is not required here, except inside lists.
        without: keys that may not be given.
    """

    cls: type
    without: Sequence[str] = ()


ExperimentOverrides = Annotated[Mapping[str, Any], PartOf(cls=Experiment, without=("name", "flow", "environment"))]
"""Keys of an experiment that an environment sets."""


@dataclass(frozen=True, kw_only=True)
class Connection:
    """How a flow reaches a model or a service. Values may be ${env:NAME}; secrets must be."""

    type: ConnectionType = setting(
        "stand_in is a deterministic loopback model that needs no key; workspace is kept, with its key, in the Azure "
        "Machine Learning workspace under the same name."
    )
    api_key: str | None = setting(
        "A reference such as ${env:OPENAI_API_KEY}; never the key itself.", default=None, writeOnly=True
    )
    base_url: str | None = setting("Address of an OpenAI-compatible service.", default=None)
    api_base: str | None = setting("Address of the Azure OpenAI resource or serverless endpoint.", default=None)
    api_version: str | None = setting("Azure OpenAI API version.", default=None)
    organization: str | None = setting("OpenAI organization.", default=None)
    configs: Mapping[str, str] = setting("Plain values of a custom connection.", factory=dict)
    secrets: Mapping[str, str] = setting(
        "References to secret values of a custom connection.", factory=dict, writeOnly=True
    )


@dataclass(frozen=True, kw_only=True)
class StandIn:
    """Settings of the stand-in model, which is no real model."""

    latency_ms: float = setting("Added to every answer.", default=0.0, minimum=0)
    calls_per_second: float | None = setting(
        "More calls than this are refused with 429.", default=None, exclusiveMinimum=0
    )


@dataclass(frozen=True, kw_only=True)
class Retries:
    """How often a model call that failed is made again, where that can help."""

    per_call: int = setting("Times that one call is repeated at most.", default=8, minimum=0)
    per_run: int = setting(
        "Repetitions in one run, beyond one for every two answered calls; what fails after that is unmeasured.",
        default=100,
        minimum=0,
    )
    longest_wait_s: float = setting(
        "Seconds of `Retry-After` that are waited for; a service that asks for more has failed.",
        default=60.0,
        minimum=0,
    )


@dataclass(frozen=True, kw_only=True)
class AzureCloud:
    """Which Azure; a cloud of one's own needs all six addresses."""

    name: str = setting(
        "AzureCloud, AzureUSGovernment, AzureChinaCloud, or any other name for a cloud of one's own.",
        default="AzureCloud",
        pattern=PLAIN_NAME,
    )
    resource_manager: str = setting("Address of Azure Resource Manager, for instance https://arm.example.", default="")
    active_directory: str = setting("Address of the token service.", default="")
    azure_portal: str = setting("Address of the portal.", default="")
    aml_resource_id: str = setting("The resource that tokens for Azure Machine Learning are for.", default="")
    storage_endpoint: str = setting("Domain of storage accounts, for instance core.windows.net.", default="")
    registry_discovery_endpoint: str = setting("Address at which registries are found.", default="")


@dataclass(frozen=True, kw_only=True)
class AzureRetries:
    """How often a call to Azure that failed in passing is made again."""

    attempts: int = setting("Times that one call is made at most.", default=5, minimum=1)
    first_wait_s: float = setting("Seconds before the second attempt; doubled before each further one.", default=1.0)
    longest_wait_s: float = setting(
        "Seconds that are waited at most, also when the service asks for more with `Retry-After`.", default=60.0
    )
    busy_s: float = setting(
        "Seconds for which a resource that is being changed by another operation is waited for.", default=1800.0
    )


@dataclass(frozen=True, kw_only=True)
class AzureJobs:
    """Command jobs, which run this driver itself on the workspace's compute."""

    cluster: str = setting("Compute cluster; serverless compute when left out.", default="")
    environment: str = setting(
        "Environment with Python 3.10 to 3.12, as azureml:NAME:VERSION; one made from this driver's own versions "
        "when left out.",
        default="",
    )
    shard_lines: int = setting(
        "Lines of one job; larger runs are divided among several jobs at once.", default=1000, minimum=1
    )
    max_shards: int = setting("Jobs of one run at most.", default=8, minimum=1)
    identity: JobIdentity = setting(
        "As whom jobs ask for what they may: managed is the compute's identity, user whoever starts the run; automatic "
        "is managed where the flow uses connections of the workspace, else none.",
        default="automatic",
    )


@dataclass(frozen=True, kw_only=True)
class AzureRuns:
    """How flows run in the workspace."""

    compute: str = setting(
        "serverless; job for command jobs that run this driver; or the name of a compute instance.",
        default="serverless",
        minLength=1,
    )
    instance_type: str = setting(
        "Size of serverless compute, for instance Standard_DS3_v2; Azure's own choice when left out.", default=""
    )
    timeout_s: float = setting("Seconds until a run is no longer waited for.", default=7200.0, exclusiveMinimum=0)
    poll_s: float = setting("Seconds between two looks at a run.", default=10.0, exclusiveMinimum=0)
    call_timeout_s: float = setting(
        "Seconds until a call to the service is given up and made again.", default=120.0, exclusiveMinimum=0
    )
    cancel_on_interrupt: bool = setting(
        "Cancel the runs that are under way when the command is interrupted; else they go on.", default=False
    )
    jobs: AzureJobs = setting("Settings of `compute: job`.", factory=AzureJobs)


@dataclass(frozen=True, kw_only=True)
class Azure:
    """The Azure Machine Learning workspace of an environment; values may be ${env:NAME}."""

    subscription_id: str = setting("Subscription; AZURE_SUBSCRIPTION_ID when left out.", default="")
    resource_group: str = setting("Resource group; AZURE_RESOURCE_GROUP when left out.", default="")
    workspace: str = setting("Workspace; AZURE_WORKSPACE when left out.", default="")
    registry: str = setting(
        "Registry that keeps the registered versions; the workspace keeps them when left out.", default=""
    )
    tenant_id: str = setting("Tenant of the identity; AZURE_TENANT_ID when left out.", default="")
    client_id: str = setting("Client id of the identity; AZURE_CLIENT_ID when left out.", default="")
    service_connection_id: str = setting(
        "Service connection of Azure Pipelines; AZURESUBSCRIPTION_SERVICE_CONNECTION_ID when left out.", default=""
    )
    credentials: Sequence[AzureIdentity] = setting(
        "Identities in the order in which they are tried; those that this machine has when left out.", default=()
    )
    cloud: AzureCloud = setting("Which Azure.", factory=AzureCloud)
    retries: AzureRetries = setting("When to give up on Azure.", factory=AzureRetries)
    runs: AzureRuns = setting("How flows run.", factory=AzureRuns)


@dataclass(frozen=True, kw_only=True)
class History:
    """Where the results of scheduled evaluations are kept, as JSON Lines: one file per experiment and environment."""

    store: HistoryStoreName = setting(
        "folder: on this machine; artifact: the same folder, which GitHub Actions keeps from run to run; "
        "branch: of a git repository; blob: append blobs in a container of Azure Storage.",
        default="folder",
    )
    folder: str = setting(
        "Of the stores `folder` and `artifact`: where, relative to the repository.",
        default=".llmops/history",
        minLength=1,
    )
    branch: str = setting(
        "Of the store `branch`: its name; it is made when it is missing and holds nothing else.",
        default="llmops-history",
        pattern="^[A-Za-z0-9][A-Za-z0-9._/-]*$",
    )
    remote: str = setting("Of the store `branch`: name or address of the remote.", default="origin", minLength=1)
    url: str = setting(
        "Of the store `blob`: https address of the container, which may be ${env:NAME} and may end in a SAS; "
        "without one, the Azure command line that is logged in gives the token.",
        default="",
    )


@dataclass(frozen=True, kw_only=True)
class Alerts:
    """The issue (GitHub) or work item (Azure Boards) that is open while a scheduled evaluation fails."""

    enabled: bool = setting("Whether one is kept.", default=True)
    labels: Sequence[str] = setting("Labels (GitHub) or tags (Azure Boards) of a new one.", factory=lambda: ("llmops",))
    work_item_type: str = setting("Type of the work item, as the project's process calls it.", default="Issue")


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A place to run in."""

    name: str = setting("Name; the file's stem when left out.", default="", pattern=NAME)
    backend: str = setting("Where flows run.", default="local")
    connections: Mapping[str, Connection] = setting(
        "Connection name, as the flow uses it, to how to reach it.", factory=dict
    )
    environment_variables: Mapping[str, str] = setting("Set in worker processes.", factory=dict)
    stand_in: StandIn = setting("Settings of the stand-in model.", factory=StandIn)
    prices: Mapping[str, Price] = setting("Model, or Azure deployment, to what its tokens cost.", factory=dict)
    retries: Retries = setting("When to give up on a model.", factory=Retries)
    endpoint: str = setting(
        "Name of an experiment's endpoint; {experiment} and {environment} stand for their names.",
        default="{experiment}-{environment}",
        minLength=1,
    )
    rollout: Rollout = setting("How a new version gets its traffic.", factory=Rollout)
    requires: Requires = setting("What a version must bring along to serve here.", factory=Requires)
    serving: Mapping[str, Any] = setting("Settings of deployments that only the backend knows.", factory=dict)
    azure: Azure = setting("The workspace of the backend azure.", factory=Azure)
    history: History = setting("Where the results of scheduled evaluations are kept.", factory=History)
    alerts: Alerts = setting("The issue that is open while a scheduled evaluation fails.", factory=Alerts)
    overrides: Mapping[str, ExperimentOverrides] = setting(
        "Experiment name to settings that hold in this environment: mappings merge by key, all else replaces.",
        factory=dict,
    )


@dataclass(frozen=True, kw_only=True)
class Project:
    """A repository: where everything else is relative to.

    Attributes:
        root: absolute path of the repository (or folder) that holds `config/`.
        state: absolute path of `.llmops/`.
        experiments: name to experiment, sorted by name.
        environments: name to environment.
    """

    root: Path
    state: Path
    experiments: Mapping[str, Experiment]
    environments: Mapping[str, Environment]
