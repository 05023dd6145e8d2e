"""What the groups of commands share: parsers, options and their reading."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from llmops.errors import UsageError

if TYPE_CHECKING:
    from llmops.config.layers import Options

LAYERED = ("environment", "dataset", "variants", "concurrency", "repeat", "line_timeout_s")
"""Options that are read together with the configuration's layers."""


class Parser(argparse.ArgumentParser):
    """Raises instead of exiting, so that one handler prints every error."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print."""
        raise UsageError.of(message, where=self.prog, fix=f"Run `{self.prog} --help`.")


def add_command(
    commands: Any, name: str, summary: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """Add one command, which `run` carries out and returns the exit code of."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, command=name)
    return parser


def add_layered(parser: argparse.ArgumentParser) -> None:
    """Add the options that the configuration's layers also have."""
    parser.add_argument("--environment", metavar="E", help="environment to run in")
    parser.add_argument("--dataset", metavar="D", help="data set of the experiment")
    parser.add_argument("--variants", metavar="NODE=VARIANT,…", help="variants of nodes")
    parser.add_argument("--concurrency", metavar="N", help="lines in flight at once")
    parser.add_argument("--repeat", metavar="N", help="measurements of each row")
    parser.add_argument("--line-timeout-s", metavar="S", help="seconds that one line may take")


def add_environment(parser: argparse.ArgumentParser) -> None:
    """Add the option that names an environment."""
    parser.add_argument("--environment", metavar="E", help="environment; the experiment's own if left out")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the option for machines."""
    parser.add_argument("--json", action="store_true", help="write JSON instead of text")


def positive(text: str) -> int:
    """Read a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


def layered_options(arguments: argparse.Namespace) -> Options:
    """Read the options of `add_layered`, flags over variables."""
    from llmops.config.layers import read_options

    texts = {name: getattr(arguments, name, None) for name in LAYERED}
    return read_options(texts, where=lambda option: f"--{option.replace('_', '-')}")
