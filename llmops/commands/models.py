"""`llmops models list`, `show` and `verify`: what is registered, and whether it still is what was judged."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from llmops.backends.registry import Delivery
from llmops.commands.context import Context
from llmops.commands.targets import Target, Tools, dataset_digests, enter_delivery, find_model, find_target, target_of
from llmops.config.layers import Options, layer
from llmops.config.load import find_root, load_project
from llmops.core.documents import to_json
from llmops.delivery.endpoint_judge import digest_lines
from llmops.delivery.lease import retry
from llmops.delivery.package import Package, load_package, verify_package
from llmops.errors import ExitCode, LlmopsError, UsageError
from llmops.flows.closure import find_closure
from llmops.flows.commit import CommitTree
from llmops.flows.digest import digest_closure
from llmops.flows.folder import read_flow_in
from llmops.records import VerdictRecord, line_from_json
from llmops.releases import ModelRecord


class Link(NamedTuple):
    """One link of the chain from a commit to a deployment.

    Attributes:
        state: `ok`, `broken`, or `not here` when what it is about cannot be looked at from here.
        sentence: what was compared.
    """

    name: str
    state: str
    sentence: str


def list_models(*, context: Context, tools: Tools, environment: str | None, json_output: bool) -> int:
    """List every version of every model of the registry that an environment uses.

    Args:
        context: of the command.
        tools: the collaborators.
        environment: its name; None for the first experiment's own.
        json_output: write the records.
    """
    project = load_project(find_root(context.folder))
    target = target_of(
        project,
        layer(project, next(iter(project.experiments)), env=context.env, flags=Options(environment=environment)),
    )
    with ExitStack() as stack:
        models = retry(enter_delivery(stack, context, tools, target).registry.list_models, tools.clock)
    if json_output:
        context.write(json.dumps({"models": [to_json(model) for model in models]}, indent=2))
    elif models:
        context.write("\n".join(_line(model) for model in models))
    else:
        context.write("No model is registered.\nNext: llmops register EXPERIMENT")
    return ExitCode.PASS


def show_model(
    *, context: Context, tools: Tools, model: str, version: str | None, environment: str | None, json_output: bool
) -> int:
    """Show one version with what is in its package.

    Args:
        context: of the command.
        tools: the collaborators.
        model: its name: the experiment's.
        version: the newest when None.
        environment: whose registry; None for the experiment's own.
        json_output: write the record and the manifest.

    Raises:
        UsageError: there is no such version, or it is not what was registered.
    """
    target = find_target(context, model, environment)
    with ExitStack() as stack:
        delivery = enter_delivery(stack, context, tools, target)
        record = find_model(delivery, tools.clock, model, version)
        package = retry(lambda: load_package(delivery.registry, record), tools.clock)
    if json_output:
        context.write(json.dumps({"model": to_json(record), "manifest": to_json(package.manifest)}, indent=2))
    else:
        context.write(_describe(record, package))
    return ExitCode.PASS


def verify_model(
    *,
    context: Context,
    tools: Tools,
    model: str,
    version: str | None,
    environment: str | None,
    package: Path | None,
    json_output: bool,
) -> int:
    """Recompute the chain commit, data, runs, verdict, model, deployment from the bytes.

    Args:
        context: of the command.
        tools: the collaborators.
        model: its name: the experiment's.
        version: the newest when None.
        environment: whose registry and endpoint; None for the experiment's own.
        package: folder with a copy of a package, which is verified by itself, without any backend.
        json_output: write the links.

    Returns:
        0 when no link is broken, else 2.
    """
    if package is not None:
        found = verify_package(package)
        links = [Link("package", "ok", f"{len(found.manifest.files)} files, content {found.manifest.digest}")]
    else:
        links = _verify(context, tools, find_target(context, model, environment), version)
    if json_output:
        context.write(json.dumps({"links": [link._asdict() for link in links]}, indent=2))
    else:
        context.write("\n".join(f"{link.state:<9} {link.name:<11} {link.sentence}" for link in links))
    return ExitCode.USAGE if any(link.state == "broken" for link in links) else ExitCode.PASS


def _verify(context: Context, tools: Tools, target: Target, version: str | None) -> list[Link]:
    with ExitStack() as stack:
        delivery = enter_delivery(stack, context, tools, target)
        record = find_model(delivery, tools.clock, target.experiment.name, version)
        try:
            package = retry(lambda: load_package(delivery.registry, record), tools.clock)
        except UsageError as error:
            return [Link("package", "broken", str(error))]
        evidence = f"{len(package.manifest.files)} files, {len(package.verdicts)} verdicts, content {record.digest}"
        return [
            _check_commit(target, package),
            *_check_verdict(target, package),
            Link("package", "ok", evidence),
            *_check_deployments(delivery, tools, target, record),
        ]


def _check_commit(target: Target, package: Package) -> Link:
    flow = package.manifest.flow
    if flow.commit is None or flow.dirty:
        return Link("commit", "not here", "the flow was registered from files that no commit holds")
    try:
        with CommitTree(target.project.root, flow.commit) as tree:
            found = digest_closure(tree, find_closure(tree, read_flow_in(tree, package.manifest.source)))
    except LlmopsError as error:
        return Link("commit", "not here", f"commit {flow.commit[:12]} cannot be read: {error.problems[0].what}")
    state = "ok" if found == flow.digest else "broken"
    return Link("commit", state, f"{flow.path} at {flow.commit[:12]} is {found}")


def _check_verdict(target: Target, package: Package) -> list[Link]:
    if package.proof is None:
        return [Link("verdict", "not here", f"registered without one: {package.manifest.without_verdict}")]
    verdict = package.proof.verdict
    run = verdict.candidate.run
    now = dataset_digests(target).get(run.dataset.name)
    same = now == run.dataset.digest
    data = "ok" if same else "not here"
    about = "is what was run" if same else "is not here" if now is None else "has changed since, or is another"
    return [
        Link("data", data, f"{run.dataset.path} {about}"),
        _check_run(target, verdict),
        Link("verdict", "ok", f"{verdict.id}: {verdict.outcome}, over content {package.manifest.digest}"),
    ]


def _check_run(target: Target, verdict: VerdictRecord) -> Link:
    run = verdict.candidate.run
    path = target.project.state / "runs" / run.id / "lines.jsonl"
    if not path.exists():
        return Link("run", "not here", f"the lines of {run.id} are not on this machine")
    with path.open(encoding="utf-8") as handle:
        found = digest_lines([line_from_json(text) for text in handle])
    return Link("run", "ok" if found == run.lines_digest else "broken", f"the lines of {run.id} are {found}")


def _check_deployments(delivery: Delivery, tools: Tools, target: Target, record: ModelRecord) -> list[Link]:
    observed = retry(lambda: delivery.endpoints.observe(target.endpoint), tools.clock)
    links = []
    for one in observed.deployments.values() if observed else ():
        if one.version == record.version and one.model == record.name:
            state = "ok" if one.digest == record.digest else "broken"
            links.append(Link("deployment", state, f"{target.endpoint}/{one.name} serves {one.digest}"))
    return links or [Link("deployment", "not here", f"not deployed to {target.endpoint}")]


def _line(model: ModelRecord) -> str:
    return f"{model.name} {model.version}  {model.digest[:19]}  {model.created_at}  {model.created_by}"


def _describe(model: ModelRecord, package: Package) -> str:
    manifest = package.manifest
    lines = [
        f"{model.name} version {model.version}",
        f"  content    {model.digest}",
        f"  registered {model.created_at} by {model.created_by}",
        f"  flow       {manifest.flow.path} at {manifest.flow.commit or 'no commit'}"
        + (", changed since" if manifest.flow.dirty else ""),
        f"  run        {manifest.run or 'none'}",
        f"  verdicts   {', '.join(one.id for one in package.verdicts) or f'none: {manifest.without_verdict}'}",
        f"  files      {len(manifest.files)}",
    ]
    return "\n".join(lines)
