"""Both CI systems behind one face: the same pipeline, started with the same inputs, and what came of it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hosts.github_double import REPOSITORY, TOKEN, GitHub
from tests.projects import Answer, TinyProject
from tests.templates.azure_runner import Pipeline
from tests.templates.changes import head_of
from tests.templates.expressions import Expressions
from tests.templates.github_runner import Runner, commands_in
from tests.templates.inputs_test import camel

_CALLER = """\
trigger: none
parameters: {declared}
resources:
  repositories: [{{repository: llmops, type: git, name: PROJECT/llmops, ref: refs/tags/v1}}]
extends:
  template: azure-pipelines/{name}.yml@llmops
  parameters: {passed}
"""


@dataclass
class Outcome:
    """What came of one run.

    Attributes:
        results: job to success, failure, skipped or rejected.
        texts: job to everything that it wrote; summaries: all that the run's page shows.
        logins: job to the identities that it logged in with.
        artifacts: what was kept; attested: name to digest.
        commands: lines that the system obeys.
    """

    results: dict[str, str]
    texts: dict[str, str]
    summaries: str
    logins: dict[str, list[str]]
    artifacts: list[Path]
    commands: list[str]
    attested: dict[str, str] = field(default_factory=dict)


@dataclass
class System:
    """Starts pipelines for a project, in folders of their own.

    Attributes:
        approvers: who approved, as the system tells the job.
        attest: inputs that ask for an attestation; empty where the system has none.
        start: pipeline, folder of the run, inputs and rejected environments to the outcome.
        state: see `Runner.state`.
    """

    start: Callable[[str, Path, Mapping[str, Any], Sequence[str]], Outcome]
    project: TinyProject
    folder: Path
    state: Path
    approvers: Sequence[str] = ()
    attest: Mapping[str, Any] = field(default_factory=dict)
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def run(self, pipeline: str, *, rejected: Sequence[str] = (), **inputs: Any) -> Outcome:
        """Start a pipeline at the commit that the project stands at."""
        given = {name.rstrip("_").replace("_", "-"): value for name, value in inputs.items()}
        return self.start(pipeline, self.folder / f"run-{next(self.numbers)}", given, rejected)

    def ask(self, *arguments: str) -> Answer:
        """Run the driver in the project's folder, over the same state."""
        return self.project.run(*arguments)

    def serving(self, environment: str) -> dict[str, int]:
        """Give the traffic of an environment: version to percent."""
        shown = json.loads(self.ask("status", "--environment", environment, "--json").out)
        (place,) = shown["places"]
        return {one["version"]: one["percent"] for one in place["serving"]}


def github_system(
    root: Path, folder: Path, state: Path, project: TinyProject, expressions: Expressions, github: GitHub
) -> System:
    """Build GitHub Actions."""

    def start(name: str, place: Path, inputs: Mapping[str, Any], rejected: Sequence[str]) -> Outcome:
        runner = Runner(
            root=root,
            folder=place,
            expressions=expressions,
            origin=project.root,
            commit=head_of(project),
            github={"event": {}, "event_name": "workflow_dispatch", "repository": REPOSITORY, "token": TOKEN},
            inputs=inputs,
            env={"GITHUB_API_URL": github.url, "GITHUB_RUN_ID": "99", "GITHUB_ACTOR": "octocat", "NO_COLOR": "1"},
            vars={"AZURE_CLIENT_ID": "client", "AZURE_TENANT_ID": "tenant", "AZURE_SUBSCRIPTION_ID": "subscription"},
            rejected=rejected,
            state=state,
        )
        results = runner.run(f".github/workflows/llmops-{name}.yml")
        jobs = {job: legs[0] for job, legs in runner.jobs.items()}
        return Outcome(
            results=results,
            texts={job: leg.text for job, leg in jobs.items()},
            summaries="\n".join(leg.summary for leg in jobs.values()),
            logins={job: leg.logins for job, leg in jobs.items()},
            artifacts=sorted(place.glob("artifacts/*")),
            commands=[line for leg in jobs.values() for line in commands_in(leg)],
            attested={name: digest for leg in jobs.values() for name, digest in leg.attested.items()},
        )

    return System(start=start, project=project, folder=folder, state=state, approvers=["ana"], attest={"attest": True})


def azure_system(root: Path, folder: Path, state: Path, project: TinyProject) -> System:
    """Build Azure Pipelines."""

    def start(name: str, place: Path, inputs: Mapping[str, Any], rejected: Sequence[str]) -> Outcome:
        parameters = {camel(key): value for key, value in inputs.items()} | {"serviceConnection": "connection"}
        if name == "promote":
            parameters["fromServiceConnection"] = "connection-of-dev"
        pipeline = Pipeline(
            root=root,
            folder=place,
            origin=project.root,
            commit=head_of(project),
            variables={
                "Build.Reason": "Manual",
                "Build.BuildId": "99",
                "Build.RequestedFor": "octocat",
                "System.CollectionUri": "https://dev.azure.com/org/",
                "System.TeamProject": "My Project",
            },
            env={"NO_COLOR": "1"},
            rejected=rejected,
            state=state,
        )
        declared = json.dumps([{"name": key, "type": "string"} for key in parameters])
        passed = json.dumps({key: f"${{{{ parameters.{key} }}}}" for key in parameters})
        results = pipeline.run(_CALLER.format(name=name, declared=declared, passed=passed), parameters)
        words = {"Succeeded": "success", "Failed": "failure", "Skipped": "skipped", "Rejected": "rejected"}
        jobs = {job: legs[0] for job, legs in pipeline.jobs.items()}
        return Outcome(
            results={job: words[result] for job, result in results.items()},
            texts={job: "\n".join(leg.log) for job, leg in jobs.items()},
            summaries="\n".join(text for leg in jobs.values() for text in leg.summaries),
            logins={job: leg.connections for job, leg in jobs.items()},
            artifacts=sorted(place.glob("artifacts/*")),
            commands=[line for leg in jobs.values() for line in leg.log if "##vso[" in line],
        )

    return System(start=start, project=project, folder=folder, state=state)
