"""What a command job is told, and where it finds and leaves things: read and written on both sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from llmops.config.model import Retries, StandIn
from llmops.core.prices import Price
from llmops.records import FlowRef, Record

TASK = "task.json"
PROJECT = "project"
DRIVER = "driver.zip"
LINES = "lines.jsonl"
RUN = "run.json"


@dataclass(frozen=True, kw_only=True)
class JobTask(Record):
    """What all shards of a run have in common.

    Attributes:
        flow: with the digest that the job must find too.
        source: what to read the flow by: its folder, file or callable, relative to the project.
        project: folder of the project below `project/`.
        connections: name to type; `workspace` ones are asked for by the job, as itself.
        workspace: id of the workspace in Azure Resource Manager; resource_manager: where that answers.
    """

    kind: ClassVar[str] = "job-task"
    flow: FlowRef
    source: str
    project: str
    experiment: str
    environment: str
    concurrency: int
    line_timeout_s: float
    connections: Mapping[str, str] = field(default_factory=dict)
    environment_variables: Mapping[str, str] = field(default_factory=dict)
    prices: Mapping[str, Price] = field(default_factory=dict)
    retries: Retries = field(default_factory=Retries)
    stand_in: StandIn = field(default_factory=StandIn)
    workspace: str = ""
    resource_manager: str = ""


def shard_file(bundle: Path, shard: int) -> Path:
    """Name the file with the inputs of a shard, counted from 1; its lines are those of the shard, in order."""
    return bundle / "shards" / f"{shard}.jsonl"
