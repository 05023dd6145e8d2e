"""Commands that look at flows without running them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmops.cli.arguments import add_command, add_json
from llmops.cli.terminal import open_context


def _add_digest(commands: Any) -> None:
    parser = add_command(commands, "digest", "print the digest of a flow", _digest)
    parser.add_argument("flow", metavar="FLOW", help="folder or file of the flow, relative to the project")
    parser.add_argument("--files", action="store_true", help="list each file with its SHA-256 and origin")
    parser.add_argument("--ref", metavar="REF", help="the flow as it stands at this git ref")
    add_json(parser)


def _digest(arguments: argparse.Namespace) -> int:
    from llmops.commands.digest import digest
    from llmops.config.load import find_root

    context = open_context()
    return digest(
        root=find_root(context.folder),
        flow=arguments.flow,
        files=arguments.files,
        json_output=arguments.json,
        ref=arguments.ref,
        write=context.write,
    )


def _add_lint(commands: Any) -> None:
    parser = add_command(commands, "lint", "judge flows, configuration and data without running anything", _lint)
    parser.add_argument("paths", nargs="*", metavar="PATH", help="files and folders; everything when none is named")
    parser.add_argument("--sarif", metavar="FILE", type=Path, help="also write SARIF 2.1.0 here")
    parser.add_argument("--strict", action="store_true", help="warnings count as errors")
    add_json(parser)


def _lint(arguments: argparse.Namespace) -> int:
    from llmops.commands.lint import lint

    return lint(
        context=open_context(),
        paths=arguments.paths,
        json_output=arguments.json,
        sarif=arguments.sarif,
        strict=arguments.strict,
    )


def _add_explain(commands: Any) -> None:
    parser = add_command(commands, "explain", "explain one rule of lint", _explain)
    parser.add_argument("code", metavar="CODE", help="for instance LL101")
    add_json(parser)


def _explain(arguments: argparse.Namespace) -> int:
    from llmops.commands.lint import explain

    return explain(context=open_context(), code=arguments.code, json_output=arguments.json)


def _add_affected(commands: Any) -> None:
    parser = add_command(commands, "affected", "list the experiments that a change touches, and why", _affected)
    parser.add_argument("--base", metavar="REF", help="compare with the merge base of HEAD and this ref")
    parser.add_argument(
        "--matrix",
        choices=("github", "azure-pipelines"),
        metavar="SYSTEM",
        help="print the matrix of github or azure-pipelines",
    )
    add_json(parser)


def _affected(arguments: argparse.Namespace) -> int:
    from llmops.commands.affected import affected

    return affected(context=open_context(), base=arguments.base, matrix=arguments.matrix, json_output=arguments.json)


def _add_init(commands: Any) -> None:
    parser = add_command(
        commands, "init", "write what a first check needs: experiments, environments, ignored files", _init
    )
    parser.add_argument("--yes", action="store_true", help="ask nothing; take the flags and the defaults")
    parser.add_argument("--ci", choices=("github", "azure-pipelines", "none"), default="github", help="CI system")
    parser.add_argument("--templates", default="", metavar="REPOSITORY@COMMIT", help="write pipelines that call these")
    parser.add_argument("--backend", choices=("local", "azure"), default="local", help="where versions are deployed")
    parser.add_argument("--threshold", action="append", default=[], metavar="METRIC=MIN", help="may be repeated")
    parser.add_argument("--no-install", action="store_true", help="do not install the LLM tool's package")
    parser.add_argument("--force", action="store_true", help="replace files that differ")


def _init(arguments: argparse.Namespace) -> int:
    from llmops.commands.init import init, parse_thresholds
    from llmops.commands.init_plan import Wishes

    thresholds = parse_thresholds(arguments.threshold)
    return init(
        context=open_context(),
        wishes=Wishes(ci=arguments.ci, templates=arguments.templates, backend=arguments.backend, thresholds=thresholds),
        force=arguments.force,
        install=not arguments.no_install,
        ask=_ask if sys.stdin.isatty() and not arguments.yes else None,
    )


def _ask(question: str, choices: Sequence[str], default: str) -> str:
    among = f" ({', '.join(choices)})" if choices else ""
    while True:
        answer = input(f"{question}{among} [{default}]: ").strip() or default
        if not choices or answer in choices:
            return answer


def _add_import(commands: Any) -> None:
    parser = add_command(
        commands, "import", "take a flow that was downloaded from the studio into the repository", _import
    )
    parser.add_argument("source", metavar="FLOW", type=Path, help="a ZIP file or a folder")
    parser.add_argument("--name", metavar="N", help="name in flows/; the file's name if left out")
    parser.add_argument("--force", action="store_true", help="replace a flow that is there")


def _import(arguments: argparse.Namespace) -> int:
    from llmops.commands.import_flow import import_flow

    return import_flow(context=open_context(), source=arguments.source, name=arguments.name, force=arguments.force)


def _add_export(commands: Any) -> None:
    parser = add_command(commands, "export", "write a flow as a ZIP file for the studio", _export)
    parser.add_argument("flow", metavar="FLOW", help="folder or file of the flow, relative to the project")
    parser.add_argument("--output", metavar="FILE", type=Path, help="NAME.zip in this folder if left out")


def _export(arguments: argparse.Namespace) -> int:
    from llmops.commands.export_flow import export_flow

    return export_flow(context=open_context(), flow=arguments.flow, output=arguments.output)


def _add_drift(commands: Any) -> None:
    parser = add_command(commands, "drift", "compare a downloaded flow with the repository's", _drift)
    parser.add_argument("source", metavar="FLOW", type=Path, help="a ZIP file or a folder")
    parser.add_argument("--flow", metavar="PATH", help="the repository's flow; flows/NAME if left out")
    add_json(parser)


def _drift(arguments: argparse.Namespace) -> int:
    from llmops.commands.drift import drift

    return drift(context=open_context(), source=arguments.source, flow=arguments.flow, json_output=arguments.json)


COMMANDS = (
    _add_digest,
    _add_lint,
    _add_explain,
    _add_affected,
    _add_init,
    _add_import,
    _add_export,
    _add_drift,
)
