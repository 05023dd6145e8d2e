"""Commands that register, deploy and serve versions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from llmops.cli.arguments import add_command, add_environment, add_json, layered_options
from llmops.cli.terminal import open_context, open_tools
from llmops.errors import UsageError


def _add_strategy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--strategy",
        choices=("canary", "blue-green", "immediate"),
        help="how it gets its traffic; the environment's rule",
    )


def _add_register(commands: Any) -> None:
    parser = add_command(commands, "register", "keep the flow that passed its gate as a version", _register)
    parser.add_argument("experiment", metavar="EXPERIMENT")
    add_environment(parser)
    parser.add_argument("--run", dest="recorded_run", metavar="RUN", help="the very files that this run saw")
    parser.add_argument("--without-verdict", metavar="REASON", help="register without a passing verdict; is recorded")
    add_json(parser)


def _register(arguments: argparse.Namespace) -> int:
    from llmops.commands.register import register

    return register(
        context=open_context(),
        tools=open_tools(),
        experiment=arguments.experiment,
        run=arguments.recorded_run,
        without_verdict=arguments.without_verdict,
        flags=layered_options(arguments),
        json_output=arguments.json,
    )


def _add_models(commands: Any) -> None:
    parser = add_command(commands, "models", "list, show or verify registered versions", _models)
    parser.add_argument("what", choices=("list", "show", "verify"))
    parser.add_argument("model", nargs="?", metavar="MODEL", help="for show and verify: the experiment's name")
    parser.add_argument("--version", metavar="V", help="the newest if left out")
    parser.add_argument("--package", metavar="DIR", type=Path, help="verify: a copy of a package, without any backend")
    add_environment(parser)
    add_json(parser)


def _models(arguments: argparse.Namespace) -> int:
    from llmops.commands.models import list_models, show_model, verify_model

    shared = {
        "context": open_context(),
        "tools": open_tools(),
        "environment": arguments.environment,
        "json_output": arguments.json,
    }
    if arguments.what == "list":
        return list_models(**shared)
    if arguments.model is None and arguments.package is None:
        raise UsageError.of(f"models {arguments.what} needs a model", fix="See `llmops models list`.")
    if arguments.what == "show":
        return show_model(**shared, model=arguments.model, version=arguments.version)
    return verify_model(**shared, model=arguments.model or "", version=arguments.version, package=arguments.package)


def _add_deploy(commands: Any) -> None:
    parser = add_command(commands, "deploy", "give a registered version an endpoint's traffic, with proof", _deploy)
    parser.add_argument("experiment", metavar="EXPERIMENT")
    add_environment(parser)
    parser.add_argument("--version", metavar="V", help="the newest if left out")
    _add_strategy(parser)
    parser.add_argument("--dry-run", action="store_true", help="show the plan and change nothing")
    parser.add_argument("--clean", action="store_true", help="only delete deployments that are due")
    add_json(parser)


def _deploy(arguments: argparse.Namespace) -> int:
    from llmops.commands.deploy import deploy

    return deploy(
        context=open_context(),
        tools=open_tools(),
        experiment=arguments.experiment,
        environment=arguments.environment,
        version=arguments.version,
        strategy=arguments.strategy,
        dry_run=arguments.dry_run,
        clean=arguments.clean,
        json_output=arguments.json,
    )


def _add_promote(commands: Any) -> None:
    parser = add_command(commands, "promote", "give an environment the version that serves in another", _promote)
    parser.add_argument("experiment", metavar="EXPERIMENT")
    parser.add_argument("--from", dest="source", metavar="A", required=True, help="environment to promote from")
    parser.add_argument("--to", metavar="B", required=True, help="environment to promote to")
    parser.add_argument("--version", metavar="V", help="refuse unless this is what serves in A")
    parser.add_argument("--attested-by", metavar="WORKFLOW", help="refuse what this GitHub workflow has not attested")
    parser.add_argument("--approved-by", action="append", default=[], metavar="NAME", help="once for each; is recorded")
    parser.add_argument("--evidence", metavar="DIR", type=Path, help="write what a reviewer reads, and stop")
    _add_strategy(parser)
    add_json(parser)


def _promote(arguments: argparse.Namespace) -> int:
    from llmops.commands.promote import promote

    return promote(
        context=open_context(),
        tools=open_tools(),
        experiment=arguments.experiment,
        source=arguments.source,
        to=arguments.to,
        version=arguments.version,
        approvals=[name for text in arguments.approved_by for name in text.split(",")],
        attested_by=arguments.attested_by or None,
        evidence=arguments.evidence,
        strategy=arguments.strategy,
        json_output=arguments.json,
    )


def _add_rollback(commands: Any) -> None:
    parser = add_command(commands, "rollback", "return to what served before the last rollout", _rollback)
    parser.add_argument("experiment", metavar="EXPERIMENT")
    add_environment(parser)
    parser.add_argument("--to", metavar="VERSION", help="a version instead")
    parser.add_argument("--reason", default="", metavar="TEXT", help="why; is recorded")
    add_json(parser)


def _rollback(arguments: argparse.Namespace) -> int:
    from llmops.commands.rollback import rollback

    return rollback(
        context=open_context(),
        tools=open_tools(),
        experiment=arguments.experiment,
        environment=arguments.environment,
        to=arguments.to,
        reason=arguments.reason or "rolled back by hand",
        json_output=arguments.json,
    )


def _add_status(commands: Any) -> None:
    parser = add_command(commands, "status", "what serves where, and what is stuck", _status)
    parser.add_argument("experiment", nargs="?", metavar="EXPERIMENT", help="all if left out")
    parser.add_argument("--environment", metavar="E", help="all if left out")
    add_json(parser)


def _status(arguments: argparse.Namespace) -> int:
    from llmops.commands.status import status

    return status(
        context=open_context(),
        tools=open_tools(),
        experiment=arguments.experiment,
        environment=arguments.environment,
        json_output=arguments.json,
    )


def _add_endpoint(commands: Any) -> None:
    parser = add_command(commands, "endpoint", "start, stop and look at the endpoints on this machine", _endpoint)
    parser.add_argument("action", choices=("start", "stop", "status", "logs", "keys"))
    parser.add_argument("endpoint", nargs="?", metavar="ENDPOINT", help="status: all if left out")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="start: the port it had before if left out")
    parser.add_argument("--deployment", metavar="D", help="logs: what this one wrote; the router if left out")
    parser.add_argument("--requests", action="store_true", help="logs: what became of the last requests")
    parser.add_argument("--lines", type=int, default=100, metavar="N", help="logs: how many")
    parser.add_argument("--rotate", choices=("primary", "secondary"), help="keys: replace this one")
    add_json(parser)


def _endpoint(arguments: argparse.Namespace) -> int:
    from llmops.commands import endpoint

    context, action, name = open_context(), arguments.action, arguments.endpoint
    if action == "status":
        return endpoint.status(context=context, endpoint=name, json_output=arguments.json)
    if name is None:
        raise UsageError.of(f"endpoint {action} needs an endpoint", fix="See `llmops endpoint status`.")
    if action == "start":
        return endpoint.start(context=context, endpoint=name, port=arguments.port, json_output=arguments.json)
    if action == "stop":
        return endpoint.stop(context=context, endpoint=name)
    if action == "keys":
        return endpoint.keys(context=context, endpoint=name, rotate=arguments.rotate, json_output=arguments.json)
    return endpoint.logs(
        context=context,
        endpoint=name,
        deployment=arguments.deployment,
        lines=arguments.lines,
        requests=arguments.requests,
    )


def _add_invoke(commands: Any) -> None:
    parser = add_command(commands, "invoke", "send one request to an experiment's endpoint", _invoke)
    parser.add_argument("experiment", metavar="EXPERIMENT")
    add_environment(parser)
    parser.add_argument("--input", dest="inputs", action="append", default=[], metavar="NAME=VALUE", help="one input")
    parser.add_argument("--file", type=Path, metavar="FILE", help="JSON object with the inputs")
    parser.add_argument("--deployment", metavar="D", help="ask this one, past the traffic split")
    parser.add_argument("--timeout-s", type=float, default=60.0, metavar="S", help="seconds to wait for the answer")
    add_json(parser)


def _invoke(arguments: argparse.Namespace) -> int:
    from llmops.commands.invoke import invoke

    return invoke(
        context=open_context(),
        tools=open_tools(),
        experiment=arguments.experiment,
        environment=arguments.environment,
        inputs=arguments.inputs,
        file=arguments.file,
        deployment=arguments.deployment,
        timeout_s=arguments.timeout_s,
        json_output=arguments.json,
    )


COMMANDS = (
    _add_register,
    _add_models,
    _add_deploy,
    _add_promote,
    _add_rollback,
    _add_status,
    _add_endpoint,
    _add_invoke,
)
