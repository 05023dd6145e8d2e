"""Arguments to typed values, dispatch, and the one place that prints and exits."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from llmops import __version__
from llmops.cli import delivery, flows, machine, quality
from llmops.cli.arguments import LAYERED, Parser
from llmops.cli.terminal import say
from llmops.errors import ExitCode, LlmopsError, Problem, UsageError, near_match

EPILOG = """exit codes:
  0 pass or done   2 usage or configuration   3 our bug   4 the backend, model or network refused
  5 time-out   10 the gate failed   11 the gate is inconclusive   130 interrupted (the same command continues)

Every option has a variable: --line-timeout-s is LLMOPS_LINE_TIMEOUT_S. A flag wins over it."""

_TRUE = {"1", "true", "yes", "on"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    _use_utf8()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        arguments = _parse(list(sys.argv[1:] if argv is None else argv), os.environ)
        return int(arguments.run(arguments))
    except KeyboardInterrupt:
        say("Interrupted. What is finished is kept; the same command continues.")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of standard output went away; Python would complain once more while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.PASS
    except LlmopsError as error:
        say(f"error: {error}")
        return error.exit_code
    except Exception as error:  # noqa: BLE001 the one handler: an unexpected error becomes a log file and exit code 3
        say(_report_bug(error))
        return ExitCode.BUG


def _parse(argv: Sequence[str], env: Mapping[str, str]) -> argparse.Namespace:
    parser = build_parser()
    own, rest = _split_at_dashes(argv)
    command = _command_parser(argv, parser) or parser
    is_taken = bool(command.get_default("takes_rest"))
    # What follows the dashes is no option, whatever it looks like: a pipeline passes names on that it was given.
    names = [] if is_taken or not rest else ["--", *rest]
    arguments, unknown = parser.parse_known_args([*_with_variables(own, env, parser), *names])
    arguments.rest = rest if is_taken else []
    if unknown:
        raise _unknown_arguments(unknown, command)
    if not hasattr(arguments, "run"):
        parser.print_help()
        arguments.run = lambda _: ExitCode.PASS
    return arguments


def _split_at_dashes(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part our arguments from what follows `--`: a command that we are to run, or names."""
    place = argv.index("--") if "--" in argv else len(argv)
    return list(argv[:place]), list(argv[place + 1 :])


def _unknown_arguments(unknown: Sequence[str], parser: argparse.ArgumentParser) -> UsageError:
    known = [flag for action in parser._actions for flag in action.option_strings]  # noqa: SLF001 as in _with_variables
    fix = next((hint for text in unknown if (hint := near_match(text.partition("=")[0], known))), "")
    found = " ".join(unknown)
    return UsageError.of("unknown arguments", where=parser.prog, found=found, fix=fix or f"Run `{parser.prog} --help`.")


def build_parser() -> Parser:
    """Build the parser of every command."""
    parser = Parser(
        prog="llmops",
        description="CI/CD for LLM applications built as flows.",
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"llmops {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    for add in (*quality.COMMANDS, *flows.COMMANDS, *delivery.COMMANDS, *machine.COMMANDS):
        add(commands)
    return parser


def _with_variables(argv: Sequence[str], env: Mapping[str, str], parser: argparse.ArgumentParser) -> list[str]:
    """Append the options that are set as variables and not as flags; layered ones are read with the configuration."""
    command = _command_parser(argv, parser)
    if command is None:
        return list(argv)
    added: list[str] = []
    for action in command._actions:  # noqa: SLF001 argparse offers no other list of its options
        flag = next((text for text in action.option_strings if text.startswith("--")), "")
        value = env.get(f"LLMOPS_{flag[2:].replace('-', '_').upper()}", "") if flag else ""
        if not value or action.dest in {"help", *LAYERED} or _is_given(flag, argv):
            continue
        if action.nargs == 0:
            added += [flag] if value.lower() in _TRUE else []
        else:
            added.append(f"{flag}={value}")
    return [*argv, *added]


def _is_given(flag: str, argv: Sequence[str]) -> bool:
    return any(argument == flag or argument.startswith(f"{flag}=") for argument in argv)


def _command_parser(argv: Sequence[str], parser: argparse.ArgumentParser) -> argparse.ArgumentParser | None:
    choices = next(action.choices for action in parser._actions if isinstance(action.choices, dict))  # noqa: SLF001 as above
    found = choices.get(argv[0]) if argv else None
    return found if isinstance(found, argparse.ArgumentParser) else None


def _use_utf8() -> None:
    """Write what a stream cannot show as escapes instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _report_bug(error: Exception) -> str:
    import platform
    import tempfile
    import traceback

    lines = [f"llmops {__version__}, Python {platform.python_version()}, {platform.platform()}", ""]
    lines += traceback.format_exception(type(error), error, error.__traceback__)
    path = Path(tempfile.gettempdir()) / f"llmops-error-{int(time.time())}-{os.getpid()}.log"
    path.write_text("\n".join(lines), encoding="utf-8")
    problem = Problem(
        what="this is a bug of llmops, not of your project",
        found=f"{type(error).__name__}: {error}",
        fix=f"Report it with the file {path}; look through it first, it may hold data of yours.",
    )
    return f"error: {problem}"
