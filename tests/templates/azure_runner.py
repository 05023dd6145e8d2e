"""Runs a pipeline as Azure Pipelines does: stages and jobs in their order, conditions, matrices, approvals.

Templates are expanded by `azure_expander`, expressions are evaluated by `azure_expressions`, steps are run by
`azure_agent`. There is no sandbox, no image, no pool and no time limit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.templates.azure_agent import Agent, Job
from tests.templates.azure_expander import Expander, repositories_of
from tests.templates.azure_expressions import Function, evaluate, to_bool, to_text

PINNED = re.compile(r"refs/tags/.+|[0-9a-f]{40}")
_LEG = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
_RUN_TIME = re.compile(r"\$\[(.*)\]", re.DOTALL)


@dataclass
class Pipeline:
    """One run of one pipeline.

    Attributes:
        root: the repository of the templates.
        folder: where the run keeps its files.
        origin: the repository `self`; commit: of it.
        variables: that the service or the person sets, such as `Build.Reason`.
        token: `System.AccessToken`.
        env: of the agents' processes.
        rejected: environments whose approval is refused.
        attempt: of every job.
        state: folder that stands for the cloud: registry and endpoints of the local backend, shared by all jobs.
    """

    root: Path
    folder: Path
    origin: Path
    commit: str
    variables: Mapping[str, str] = field(default_factory=dict)
    token: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    rejected: Sequence[str] = ()
    attempt: int = 1
    state: Path | None = None
    jobs: dict[str, list[Job]] = field(default_factory=dict)
    expanded: dict[str, Any] = field(default_factory=dict)

    def run(self, text: str, parameters: Mapping[str, Any] | None = None) -> dict[str, str]:
        """Run the file that a user has; give each job's result: Succeeded, Failed, Skipped or Rejected."""
        repositories = {"self": self.origin}
        for one in repositories_of(text):
            assert PINNED.fullmatch(one["ref"]), f"{one['repository']} is not pinned"
            repositories[one["repository"]] = self.root
        expander = Expander(repositories=repositories, variables=self.variables)
        self.expanded = expander.expand(text, parameters)
        stages: dict[str, _Stage] = {}
        for document in self.expanded["stages"]:
            stage = _Stage(self, document, repositories, stages)
            stage.run()
            stages[document["stage"]] = stage
        return {name: result for stage in stages.values() for name, result in stage.results.items()}


class _Stage:
    """The jobs of one stage."""

    def __init__(
        self,
        pipeline: Pipeline,
        document: Mapping[str, Any],
        repositories: Mapping[str, Path],
        before: Mapping[str, _Stage],
    ) -> None:
        self.pipeline = pipeline
        self.document = document
        self.repositories = repositories
        self.before = dict(before)
        self.results: dict[str, str] = {}
        self.outputs: dict[str, dict[str, str]] = {}

    @property
    def result(self) -> str:
        """Sum up the jobs' results."""
        found = set(self.results.values())
        if found & {"Failed", "Rejected"}:
            return "Failed"
        return "Skipped" if found <= {"Skipped"} else "Succeeded"

    def run(self) -> None:
        previous = list(self.before)[-1:]
        wanted = _names(self.document.get("dependsOn", previous))
        states = {name: self.before[name].result for name in wanted}
        contexts = {"variables": self.pipeline.variables, "dependencies": {}}
        is_open = _holds(self.document.get("condition"), contexts, states)
        for job in self.document["jobs"]:
            name = job.get("job") or job["deployment"]
            self.outputs[name] = {}
            self.results[name] = self._run_job(name, job) if is_open else "Skipped"

    def _run_job(self, name: str, job: Mapping[str, Any]) -> str:
        wanted = _names(job.get("dependsOn", []))
        states = {one: self.results[one] for one in wanted}
        contexts = {
            "variables": self.pipeline.variables,
            "dependencies": {one: {"result": self.results[one], "outputs": self.outputs[one]} for one in wanted},
            "stageDependencies": {
                stage: {one: {"result": state, "outputs": inner.outputs[one]} for one, state in inner.results.items()}
                for stage, inner in self.before.items()
                if stage in _names(self.document.get("dependsOn", list(self.before)[-1:]))
            },
        }
        if not _holds(job.get("condition"), contexts, states):
            return "Skipped"
        if job.get("environment") in self.pipeline.rejected:
            return "Rejected"
        strategy = job.get("strategy", {})
        steps = strategy["runOnce"]["deploy"]["steps"] if "runOnce" in strategy else job["steps"]
        legs = _legs(strategy.get("matrix"), contexts)
        done = [self._run_leg(name, at, {**job, "steps": steps}, leg, contexts) for at, leg in enumerate(legs)]
        self.pipeline.jobs[name] = done
        self.outputs[name] = done[-1].outputs
        return "Failed" if any(leg.result == "Failed" for leg in done) else "Succeeded"

    def _run_leg(
        self, name: str, at: int, job: Mapping[str, Any], leg: Mapping[str, str], contexts: Mapping[str, Any]
    ) -> Job:
        pipeline = self.pipeline
        own, readonly = _variables_of(job.get("variables", []), contexts)
        numbers = {"System.JobId": f"{name}-{at}", "System.JobAttempt": str(pipeline.attempt)}
        agent = Agent(
            folder=pipeline.folder / f"{name}-{at}-{pipeline.attempt}",
            repositories=self.repositories,
            commit=pipeline.commit,
            kept=pipeline.folder / "artifacts",
            variables={**pipeline.variables, **numbers, **own, **leg},
            secret={"System.AccessToken": pipeline.token} if pipeline.token else {},
            readonly=readonly,
            env=pipeline.env,
            state=pipeline.state,
            job=Job(name),
        )
        for step in job["steps"]:
            if _holds(
                step.get("condition"), {"variables": agent.variables}, {"job": agent.job.result}
            ) and not agent.run(step):
                agent.job.result = "Failed"
        return agent.job


def _names(wanted: Any) -> list[str]:
    return [wanted] if isinstance(wanted, str) else list(wanted)


def _holds(condition: Any, contexts: Mapping[str, Any], states: Mapping[str, str]) -> bool:
    """Judge a condition; one that is written replaces the one that all before must have succeeded."""
    text = to_text(condition) if condition is not None else "succeeded()"
    return to_bool(evaluate(text, contexts, _status(states)))


def _status(states: Mapping[str, str]) -> Mapping[str, Function]:
    def chosen(names: Sequence[str]) -> set[str]:
        return {states[name] for name in names or states}

    return {
        "always": lambda: True,
        "canceled": lambda: False,
        "succeeded": lambda *names: chosen(names) <= {"Succeeded"},
        "failed": lambda *names: "Failed" in chosen(names),
        "succeededOrFailed": lambda *names: chosen(names) <= {"Succeeded", "Failed"},
    }


def _legs(matrix: Any, contexts: Mapping[str, Any]) -> list[dict[str, str]]:
    """Give the variables of each leg; one without any when there is no matrix."""
    if matrix is None:
        return [{}]
    found = _RUN_TIME.fullmatch(matrix) if isinstance(matrix, str) else None
    legs = json.loads(evaluate(found[1].strip(), contexts)) if found else matrix
    assert legs, "an empty matrix is an error"
    assert all(_LEG.fullmatch(name) for name in legs), f"not names of legs: {list(legs)}"
    return [{name: to_text(value) for name, value in leg.items()} for leg in legs.values()]


def _variables_of(declared: Any, contexts: Mapping[str, Any]) -> tuple[dict[str, str], set[str]]:
    """Work out a job's variables; also give the names that no step may set."""
    listed = (
        [{"name": key, "value": value} for key, value in declared.items()] if isinstance(declared, dict) else declared
    )
    found = {}
    for one in listed:
        run_time = _RUN_TIME.fullmatch(to_text(one["value"]))
        found[one["name"]] = to_text(evaluate(run_time[1].strip(), contexts) if run_time else one["value"])
    return found, {one["name"] for one in listed if one.get("readonly") is True}
