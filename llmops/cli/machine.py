"""Commands about this machine: set-up, checks, servers for trying out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from llmops.cli.arguments import add_command, add_json
from llmops.cli.terminal import open_context


def _add_setup(commands: Any) -> None:
    add_command(commands, "setup", "install the LLM tool's package for flows with LLM or prompt nodes", _setup)


def _setup(_: argparse.Namespace) -> int:
    from llmops.commands.setup import setup

    context = open_context()
    return setup(write=context.write, env=context.env)


def _add_doctor(commands: Any) -> None:
    parser = add_command(commands, "doctor", "say what of this machine and repository would stop a check", _doctor)
    parser.add_argument("--environment", metavar="E", help="look at this one's connections; at all if left out")
    parser.add_argument("--offline", action="store_true", help="ask no model service and no cloud")
    add_json(parser)


def _doctor(arguments: argparse.Namespace) -> int:
    from llmops.commands.doctor import doctor

    context = open_context()
    environment = arguments.environment or context.env.get("LLMOPS_ENVIRONMENT") or None
    return doctor(context=context, environment=environment, offline=arguments.offline, json_output=arguments.json)


def _add_schema(commands: Any) -> None:
    parser = add_command(commands, "schema", "print the JSON Schemas of the configuration files", _schema)
    parser.add_argument(
        "kind", nargs="?", choices=("experiment", "environment"), metavar="KIND", help="all if left out"
    )
    parser.add_argument("--output", metavar="DIR", type=Path, help="write them into this folder")
    parser.add_argument("--check", action="store_true", help="compare the files of --output, or those that are shipped")


def _schema(arguments: argparse.Namespace) -> int:
    from llmops.commands.schema import schema
    from llmops.config.schema import SCHEMAS

    return schema(
        write=open_context().write,
        kind=arguments.kind,
        output=None if arguments.check else arguments.output,
        check=arguments.check,
        folder=arguments.output or SCHEMAS,
    )


def _add_stand_in(commands: Any) -> None:
    parser = add_command(
        commands, "stand-in", "serve the stand-in model, which is no real model, on this machine", _stand_in
    )
    parser.add_argument("--port", type=int, default=0, metavar="N", help="0 picks a free one")
    parser.add_argument("--latency-ms", type=float, default=0.0, metavar="MS", help="added to every answer")
    parser.add_argument("--calls-per-second", type=float, metavar="X", help="refuse more than this with 429")


def _stand_in(arguments: argparse.Namespace) -> int:
    from llmops.commands.stand_in import stand_in

    return stand_in(port=arguments.port, latency_ms=arguments.latency_ms, calls_per_second=arguments.calls_per_second)


def _add_emulator(commands: Any) -> None:
    summary = "Azure Machine Learning on this machine: start it, or run a command against it"
    parser = add_command(commands, "emulator", summary, _emulator)
    parser.add_argument("action", choices=["start", "run"], help="serve until Ctrl-C, or run one command")
    parser.usage = "llmops emulator {start,run} [options] [-- COMMAND …]"
    parser.set_defaults(takes_rest=True)
    parser.add_argument("--port", type=int, default=0, metavar="N", help="0 picks a free one")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keep the state here; forgotten when left out")
    parser.add_argument(
        "--workspace", action="append", default=[], metavar="NAME", help="one that exists; else any does"
    )
    parser.add_argument(
        "--registry", action="append", default=[], metavar="NAME", help="one that exists; else any does"
    )
    parser.add_argument("--connections-of", metavar="E", help="environment whose connections the workspaces have")
    parser.add_argument("--faults", type=Path, metavar="FILE", help="YAML file with rules for what goes wrong")
    parser.add_argument("--settings", type=Path, metavar="FILE", help="YAML file with settings of the service")
    parser.add_argument("--requests", type=Path, metavar="FILE", help="write the record of requests here at the end")
    parser.add_argument("--python", metavar="PATH", help="interpreter in which flows run; it needs promptflow-core")
    parser.add_argument("--env-file", type=Path, metavar="FILE", help="append the variables that clients need")


def _emulator(arguments: argparse.Namespace) -> int:
    from llmops.commands.emulator import EmulatorOptions, run, start

    options = EmulatorOptions(
        port=arguments.port,
        folder=arguments.folder,
        workspaces=arguments.workspace,
        registries=arguments.registry,
        connections_of=arguments.connections_of,
        faults=arguments.faults,
        settings=arguments.settings,
        requests=arguments.requests,
        python=arguments.python,
    )
    if arguments.action == "run":
        return run(context=open_context(), options=options, command=arguments.rest)
    return start(context=open_context(), options=options, env_file=arguments.env_file)


COMMANDS = (
    _add_setup,
    _add_doctor,
    _add_schema,
    _add_stand_in,
    _add_emulator,
)
