"""The short pipelines of a user's repository: each calls one of ours, pinned, with the names of this project."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from llmops.commands.init_plan import CiSystem
from llmops.errors import UsageError

GITHUB_FOLDER = ".github/workflows"
AZURE_FOLDER = "azure-pipelines"
DELIVERY = ("evaluate", "release", "promote", "rollback")
"""Pipelines that need environments to deliver to."""

_SOURCES: Mapping[CiSystem, tuple[str, str]] = {
    "github": (r"([\w.-]+/[\w.-]+)@([0-9a-f]{40})", "OWNER/llmops@COMMIT, a commit of 40 digits"),
    "azure-pipelines": (r"([\w. -]+/[\w. -]+)@(refs/tags/[\w./-]+|[0-9a-f]{40})", "PROJECT/llmops@refs/tags/TAG"),
}


class Caller(NamedTuple):
    """One pipeline of at most fifteen lines."""

    path: str
    text: str


def callers(ci: CiSystem, templates: str, *, experiments: Sequence[str], delivers: bool) -> Sequence[Caller]:
    """Write the pipelines of a project.

    Args:
        ci: which CI system.
        templates: where our templates are, `REPOSITORY@COMMIT`; a tag will do on Azure Pipelines.
        experiments: names; each has a release of its own.
        delivers: whether there are environments `dev` and `prod` to deliver to.

    Raises:
        UsageError: `templates` has another form, or is not pinned.
    """
    if ci == "none":
        return ()
    pattern, expected = _SOURCES[ci]
    found = re.fullmatch(pattern, templates)
    if not found:
        raise UsageError.of("not a pinned repository", where="--templates", found=f"'{templates}'", expected=expected)
    texts = {name: text for name, text in _TEXTS[ci].items() if delivers or name not in DELIVERY}
    folder = GITHUB_FOLDER if ci == "github" else AZURE_FOLDER
    return [
        Caller(f"{folder}/{name}.yml", text)
        for pipeline, text in texts.items()
        for name, text in _fill(pipeline, text, experiments, repository=found[1], ref=found[2])
    ]


def _fill(
    pipeline: str, text: str, experiments: Sequence[str], *, repository: str, ref: str
) -> Iterator[tuple[str, str]]:
    """Fill in the names; a pipeline for one experiment is written once for each."""
    filled = text.replace("REPOSITORY", repository).replace("REF", ref)
    if "EXPERIMENT" not in text:
        yield f"llmops-{pipeline}", filled
        return
    for name in experiments:
        suffix = f"-{name}" if len(experiments) > 1 else ""
        yield f"llmops-{pipeline}{suffix}", filled.replace("EXPERIMENT", name).replace("SUFFIX", suffix)


_GITHUB = {
    "pull-request": """\
name: llmops
on: pull_request
permissions: {}
jobs:
  check:
    permissions:
      contents: read # to check out
      pull-requests: write # to comment
    uses: REPOSITORY/.github/workflows/llmops-pull-request.yml@REF
""",
    "pull-request-report": """\
name: llmops report
on: {workflow_run: {workflows: [llmops], types: [completed]}} # zizmor: ignore[dangerous-triggers] it reads data only
permissions: {}
jobs:
  report:
    permissions:
      actions: read # to fetch what the run left behind
      pull-requests: write # to comment
    uses: REPOSITORY/.github/workflows/llmops-pull-request-report.yml@REF
""",
    "evaluate": """\
name: llmops evaluate
on: {schedule: [{cron: "17 3 * * *"}], workflow_dispatch: {}}
permissions: {}
jobs:
  evaluate:
    permissions:
      actions: read # the history, if it is an artifact
      contents: write # the history, if it is a branch
      issues: write # to open an issue when it fails
      id-token: write # to log in to Azure
    uses: REPOSITORY/.github/workflows/llmops-evaluate.yml@REF
    with:
      environment: prod
""",
    "release": """\
name: llmops releaseSUFFIX
on: {push: {branches: [main]}}
permissions: {}
jobs:
  release:
    permissions:
      contents: read # to check out
      id-token: write # to log in to Azure, and to sign
      attestations: write # to attest
      artifact-metadata: write # to attest
    uses: REPOSITORY/.github/workflows/llmops-release.yml@REF
    with:
      experiment: EXPERIMENT
      environment: dev
""",
    "promote": """\
name: llmops promote
on: {workflow_dispatch: {inputs: {experiment: {type: string, required: true}, version: {type: string}}}}
permissions: {}
jobs:
  promote:
    permissions:
      actions: read # to learn who approved
      attestations: read # to look for the attestation
      contents: read # to check out
      id-token: write # to log in to Azure
    uses: REPOSITORY/.github/workflows/llmops-promote.yml@REF
    with: {experiment: "${{ inputs.experiment }}", version: "${{ inputs.version }}", from: dev, to: prod}
""",
    "rollback": """\
name: llmops rollback
on: {workflow_dispatch: {inputs: {experiment: {type: string, required: true}, reason: {type: string}}}}
permissions: {}
jobs:
  rollback:
    permissions:
      contents: read # to check out
      id-token: write # to log in to Azure
    uses: REPOSITORY/.github/workflows/llmops-rollback.yml@REF
    with:
      experiment: ${{ inputs.experiment }}
      environment: prod
      reason: ${{ inputs.reason }}
""",
}

_RESOURCES = """\
resources:
  repositories: [{repository: llmops, type: git, name: REPOSITORY, ref: REF}]
extends:
"""

_AZURE = {
    "pull-request": f"""\
trigger: none
{_RESOURCES}\
  template: azure-pipelines/pull-request.yml@llmops
""",
    "evaluate": f"""\
schedules: [{{cron: "17 3 * * *", branches: {{include: [main]}}, always: true}}]
trigger: none
{_RESOURCES}\
  template: azure-pipelines/evaluate.yml@llmops
  parameters:
    environment: prod
    serviceConnection: llmops-prod
""",
    "release": f"""\
trigger: {{branches: {{include: [main]}}}}
{_RESOURCES}\
  template: azure-pipelines/release.yml@llmops
  parameters:
    experiment: EXPERIMENT
    environment: dev
    serviceConnection: llmops-dev
""",
    "promote": f"""\
trigger: none
parameters: [{{name: experiment, type: string}}, {{name: version, type: string, default: ""}}]
{_RESOURCES}\
  template: azure-pipelines/promote.yml@llmops
  parameters:
    experiment: ${{{{ parameters.experiment }}}}
    version: ${{{{ parameters.version }}}}
    from: dev
    to: prod
    fromServiceConnection: llmops-dev
    serviceConnection: llmops-prod
""",
    "rollback": f"""\
trigger: none
parameters: [{{name: experiment, type: string}}, {{name: reason, type: string, default: ""}}]
{_RESOURCES}\
  template: azure-pipelines/rollback.yml@llmops
  parameters:
    experiment: ${{{{ parameters.experiment }}}}
    environment: prod
    reason: ${{{{ parameters.reason }}}}
    serviceConnection: llmops-prod
""",
}

_TEXTS: Mapping[CiSystem, Mapping[str, str]] = {"github": _GITHUB, "azure-pipelines": _AZURE}
