"""Arguments to typed values, dispatch, and the one place that prints and exits."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from llmops import __version__
from llmops.errors import ExitCode, LlmopsError, Problem, UsageError, near_match

if TYPE_CHECKING:
    from llmops.commands.context import Context
    from llmops.commands.targets import Tools
    from llmops.config.layers import Options
    from llmops.engine.gateway.settings import ModelUse

EPILOG = """exit codes:
  0 pass or done   2 usage or configuration   3 our bug   4 the backend, model or network refused
  5 time-out   10 the gate failed   11 the gate is inconclusive   130 interrupted (the same command continues)

Every option has a variable: --line-timeout-s is LLMOPS_LINE_TIMEOUT_S. A flag wins over it."""

_LAYERED = ("environment", "dataset", "variants", "concurrency", "repeat", "line_timeout_s")
_TRUE = {"1", "true", "yes", "on"}


class _Parser(argparse.ArgumentParser):
    """Raises instead of exiting, so that one handler prints every error."""

    def error(self, message: str) -> NoReturn:
        raise UsageError.of(message, where=self.prog, fix=f"Run `{self.prog} --help`.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    _use_utf8()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        arguments = _parse(list(sys.argv[1:] if argv is None else argv), os.environ)
        return int(arguments.run(arguments))
    except KeyboardInterrupt:
        _say("Interrupted. What is finished is kept; the same command continues.")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of standard output went away; Python would complain once more while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.PASS
    except LlmopsError as error:
        _say(f"error: {error}")
        return error.exit_code
    except Exception as error:  # noqa: BLE001 the one handler: an unexpected error becomes a log file and exit code 3
        _say(_report_bug(error))
        return ExitCode.BUG


def _parse(argv: Sequence[str], env: Mapping[str, str]) -> argparse.Namespace:
    parser = _build_parser()
    own, rest = _split_at_dashes(argv)
    arguments, unknown = parser.parse_known_args(_with_variables(own, env, parser))
    arguments.rest = rest
    unknown += [] if "takes_rest" in arguments else rest
    if unknown:
        raise _unknown_arguments(unknown, _command_parser(argv, parser) or parser)
    if not hasattr(arguments, "run"):
        parser.print_help()
        arguments.run = lambda _: ExitCode.PASS
    return arguments


def _split_at_dashes(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part our arguments from those of a command that we are to run: what follows `--`."""
    place = argv.index("--") if "--" in argv else len(argv)
    return list(argv[:place]), list(argv[place + 1 :])


def _unknown_arguments(unknown: Sequence[str], parser: argparse.ArgumentParser) -> UsageError:
    known = [flag for action in parser._actions for flag in action.option_strings]  # noqa: SLF001 as in _with_variables
    fix = next((hint for text in unknown if (hint := near_match(text.partition("=")[0], known))), "")
    found = " ".join(unknown)
    return UsageError.of("unknown arguments", where=parser.prog, found=found, fix=fix or f"Run `{parser.prog} --help`.")


def _build_parser() -> _Parser:
    parser = _Parser(
        prog="llmops",
        description="CI/CD for LLM applications built as flows.",
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"llmops {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)
    for add in _COMMANDS:
        add(commands)
    return parser


def _add(commands: Any, name: str, summary: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, command=name)
    return parser


def _add_layered(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--environment", metavar="E", help="environment to run in")
    parser.add_argument("--dataset", metavar="D", help="data set of the experiment")
    parser.add_argument("--variants", metavar="NODE=VARIANT,…", help="variants of nodes")
    parser.add_argument("--concurrency", metavar="N", help="lines in flight at once")
    parser.add_argument("--repeat", metavar="N", help="measurements of each row")
    parser.add_argument("--line-timeout-s", metavar="S", help="seconds that one line may take")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="write JSON instead of text")


def _add_check(commands: Any) -> None:
    parser = _add(commands, "check", "run, evaluate, compare with the baseline, gate and report", _check)
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help="all when none is named")
    _add_layered(parser)
    parser.add_argument("--baseline", metavar="REF", help="git ref to compare with, or none")
    parser.add_argument("--output", metavar="DIR", type=Path, help="folder for the reports")
    parser.add_argument(
        "--add-repeats", metavar="K", type=_positive, default=0, help="measure each row K times more and pool"
    )
    _add_model_use(parser)
    _add_json(parser)


def _add_model_use(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--record", metavar="FILE", type=Path, help="add every answer of a model to this recording")
    parser.add_argument("--replay", metavar="FILE", type=Path, help="answer from this recording and call no model")
    parser.add_argument("--faults", metavar="FILE", type=Path, help="faults of the models to try, for tests")


def _model_use(arguments: argparse.Namespace) -> ModelUse:
    from llmops.engine.gateway.settings import ModelUse

    return ModelUse(record=arguments.record, replay=arguments.replay, faults=arguments.faults)


def _check(arguments: argparse.Namespace) -> int:
    from llmops.commands.check import check

    return check(
        context=_context(),
        experiments=arguments.experiments,
        flags=_options(arguments),
        baseline=arguments.baseline,
        output=arguments.output,
        json_output=arguments.json,
        add_repeats=arguments.add_repeats,
        use=_model_use(arguments),
    )


def _add_run(commands: Any) -> None:
    parser = _add(commands, "run", "run an experiment's flow over its data set", _run)
    parser.add_argument("experiment", metavar="EXPERIMENT", nargs="?")
    parser.add_argument("--file", metavar="FILE", type=Path, help="run as this run file of prompt flow says, instead")
    _add_layered(parser)
    parser.add_argument("--ref", metavar="REF", help="run the flow as it stands at this git ref")
    parser.add_argument("--estimate", action="store_true", help="say what the run would use, and run nothing")
    _add_model_use(parser)
    _add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    if _names_a_file(arguments, arguments.experiment, "EXPERIMENT"):
        from llmops.commands.run_file import run_file

        return run_file(
            context=_context(),
            file=arguments.file,
            environment=arguments.environment or os.environ.get("LLMOPS_ENVIRONMENT"),
            run=None,
            evaluate=False,
            json_output=arguments.json,
        )
    from llmops.commands.run import run

    return run(
        context=_context(),
        experiment=arguments.experiment,
        flags=_options(arguments),
        ref=arguments.ref,
        json_output=arguments.json,
        use=_model_use(arguments),
        estimates=arguments.estimate,
    )


def _add_evaluate(commands: Any) -> None:
    parser = _add(commands, "evaluate", "score the lines of a run with the experiment's evaluators", _evaluate)
    parser.add_argument("recorded_run", metavar="RUN", nargs="?", help="the id that `llmops run` printed")
    parser.add_argument("--file", metavar="FILE", type=Path, help="a run file of prompt flow that names the evaluation")
    parser.add_argument("--run", metavar="RUN", dest="target", help="with --file: id or name of the run to evaluate")
    _add_layered(parser)
    _add_json(parser)


def _names_a_file(arguments: argparse.Namespace, positional: str | None, name: str) -> bool:
    """Say whether a run file is asked for; it stands in the place of the positional argument."""
    if (arguments.file is None) == (positional is None):
        found = "both" if positional else "neither"
        raise UsageError.of(f"give {name} or --file", where=f"llmops {arguments.command}", found=found)
    return arguments.file is not None


def _evaluate(arguments: argparse.Namespace) -> int:
    if _names_a_file(arguments, arguments.recorded_run, "RUN"):
        from llmops.commands.run_file import run_file

        return run_file(
            context=_context(),
            file=arguments.file,
            environment=arguments.environment or os.environ.get("LLMOPS_ENVIRONMENT"),
            run=arguments.target,
            evaluate=True,
            json_output=arguments.json,
        )
    from llmops.commands.evaluate import evaluate

    return evaluate(
        context=_context(), run=arguments.recorded_run, flags=_options(arguments), json_output=arguments.json
    )


def _add_test(commands: Any) -> None:
    parser = _add(commands, "test", "run one input through a flow and show what each node did", _test)
    parser.add_argument("flow", metavar="FLOW", help="an experiment, or a flow: folder, file or callable")
    parser.add_argument(
        "--inputs", metavar="NAME=VALUE", nargs="+", default=[], help="inputs, or one file whose first row is taken"
    )
    parser.add_argument("--interactive", action="store_true", help="ask for inputs until the end of input")
    parser.add_argument("--variants", metavar="NODE=VARIANT,…", help="variants of nodes")
    parser.add_argument("--init", metavar="NAME=VALUE", nargs="+", default=[], help="arguments of the flow's class")
    parser.add_argument("--environment", metavar="E", help="environment whose connections are used")
    _add_json(parser)


def _test(arguments: argparse.Namespace) -> int:
    from llmops.commands.test import Wish, chat, test

    wish = Wish(
        flow=arguments.flow,
        environment=arguments.environment,
        inputs=arguments.inputs,
        variants=arguments.variants,
        init=arguments.init,
    )
    if arguments.interactive:
        return chat(context=_context(), wish=wish, read=_read_line)
    return test(context=_context(), wish=wish, json_output=arguments.json)


def _read_line(prompt: str) -> str | None:
    try:
        return input(prompt)
    except EOFError:
        return None


def _add_runs(commands: Any) -> None:
    parser = _add(commands, "runs", "list, show, compare and export runs", _runs)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    listing = actions.add_parser("list", help="every run, newest first", allow_abbrev=False)
    showing = actions.add_parser("show", help="one run: what it was made of, metrics, lines", allow_abbrev=False)
    comparing = actions.add_parser("compare", help="two or more runs side by side, with the rows that differ")
    logs = actions.add_parser("logs", help="what a run's flow printed", allow_abbrev=False)
    exporting = actions.add_parser("export", help="the lines of a run as JSON Lines or CSV", allow_abbrev=False)
    for one in (showing, logs, exporting):
        one.add_argument("recorded_run", metavar="RUN", help="id, the beginning of one, or name")
    comparing.add_argument("recorded_runs", metavar="RUN", nargs="+", help="ids or names")
    exporting.add_argument("--output", metavar="FILE", type=Path, help="a .jsonl or .csv file; standard output if none")
    for one in (listing, showing, comparing):
        _add_json(one)


def _runs(arguments: argparse.Namespace) -> int:
    from llmops.commands import runs

    context = _context()
    if arguments.action == "list":
        return runs.list_runs(context=context, json_output=arguments.json)
    if arguments.action == "show":
        return runs.show_run(context=context, run=arguments.recorded_run, json_output=arguments.json)
    if arguments.action == "compare":
        return runs.compare_runs(context=context, runs=arguments.recorded_runs, json_output=arguments.json)
    if arguments.action == "logs":
        return runs.show_logs(context=context, run=arguments.recorded_run)
    return runs.export_run(context=context, run=arguments.recorded_run, output=arguments.output)


def _add_gate(commands: Any) -> None:
    parser = _add(commands, "gate", "judge an evaluation by the experiment's limits", _gate)
    parser.add_argument("evaluation", metavar="EVALUATION", nargs="?", help="the id that `llmops evaluate` printed")
    parser.add_argument("--baseline", metavar="EVALUATION", help="the baseline's evaluation")
    parser.add_argument("--power", metavar="EXPERIMENT", help="only say what the experiment's data set can find")
    _add_layered(parser)
    parser.add_argument("--output", metavar="FILE", type=Path, help="write the verdict here too")
    _add_json(parser)


def _gate(arguments: argparse.Namespace) -> int:
    if arguments.power:
        from llmops.commands.gate_power import gate_power

        return gate_power(
            context=_context(),
            experiment=arguments.power,
            flags=_options(arguments),
            json_output=arguments.json,
        )
    if not arguments.evaluation:
        raise UsageError.of("no evaluation is named", where="llmops gate", fix="Name one, or use --power EXPERIMENT.")
    from llmops.commands.gate import gate

    return gate(
        context=_context(),
        evaluation=arguments.evaluation,
        baseline=arguments.baseline,
        flags=_options(arguments),
        output=arguments.output,
        json_output=arguments.json,
    )


def _add_selftest(commands: Any) -> None:
    parser = _add(commands, "selftest", "plant known regressions and say which of them the gate stops", _selftest)
    parser.add_argument("experiment", metavar="EXPERIMENT")
    _add_layered(parser)
    _add_json(parser)


def _selftest(arguments: argparse.Namespace) -> int:
    from llmops.commands.selftest import selftest

    return selftest(
        context=_context(),
        experiment=arguments.experiment,
        flags=_options(arguments),
        json_output=arguments.json,
    )


def _add_report(commands: Any) -> None:
    parser = _add(commands, "report", "render a verdict again", _report)
    parser.add_argument("verdict", metavar="VERDICT", type=Path, help="a verdict.json, or a folder with some")
    parser.add_argument(
        "--output", metavar="DIR", type=Path, help="folder for the reports; the verdict's own if left out"
    )
    parser.add_argument("--format", action="append", default=[], help="json, markdown, junit or html; all if left out")
    parser.add_argument("--host", metavar="HOST", help="github, azure-pipelines or none; detected if left out")
    parser.add_argument("--expected", metavar="NAMES", help="experiments, by spaces, that need a verdict")
    parser.add_argument("--exit-code", action="store_true", help="end with the checks' exit code")
    _add_json(parser)


def _report(arguments: argparse.Namespace) -> int:
    from llmops.commands.report import report

    return report(
        context=_context(host=arguments.host),
        verdict=arguments.verdict,
        output=arguments.output,
        formats=arguments.format,
        expected=None if arguments.expected is None else arguments.expected.split(),
        exit_code=arguments.exit_code,
        json_output=arguments.json,
    )


def _add_comment(commands: Any) -> None:
    parser = _add(commands, "comment", "say what came of the checks in one comment on the pull request", _comment)
    parser.add_argument("verdict", metavar="VERDICT", type=Path, help="a verdict.json, or a folder with some")
    parser.add_argument("--host", metavar="HOST", help="github or azure-pipelines; detected if left out")
    parser.add_argument("--expected", metavar="NAMES", help="experiments, by spaces, that need a verdict")
    parser.add_argument("--key", default="check", metavar="KEY", help="tells this comment from others of ours")
    parser.add_argument("--status", action="store_true", help="also set a status or a check run")
    parser.add_argument("--dry-run", action="store_true", help="write the comment and post nothing")


def _comment(arguments: argparse.Namespace) -> int:
    from llmops.commands.comment import comment

    return comment(
        context=_context(host=arguments.host),
        verdict=arguments.verdict,
        expected=None if arguments.expected is None else arguments.expected.split(),
        key=arguments.key,
        status=arguments.status,
        dry_run=arguments.dry_run,
    )


def _add_digest(commands: Any) -> None:
    parser = _add(commands, "digest", "print the digest of a flow", _digest)
    parser.add_argument("flow", metavar="FLOW", help="folder or file of the flow, relative to the project")
    parser.add_argument("--files", action="store_true", help="list each file with its SHA-256 and origin")
    parser.add_argument("--ref", metavar="REF", help="the flow as it stands at this git ref")
    _add_json(parser)


def _digest(arguments: argparse.Namespace) -> int:
    from llmops.commands.digest import digest
    from llmops.config.load import find_root

    context = _context()
    return digest(
        root=find_root(context.folder),
        flow=arguments.flow,
        files=arguments.files,
        json_output=arguments.json,
        ref=arguments.ref,
        write=context.write,
    )


def _add_lint(commands: Any) -> None:
    parser = _add(commands, "lint", "judge flows, configuration and data without running anything", _lint)
    parser.add_argument("paths", nargs="*", metavar="PATH", help="files and folders; everything when none is named")
    parser.add_argument("--sarif", metavar="FILE", type=Path, help="also write SARIF 2.1.0 here")
    parser.add_argument("--strict", action="store_true", help="warnings count as errors")
    _add_json(parser)


def _lint(arguments: argparse.Namespace) -> int:
    from llmops.commands.lint import lint

    return lint(
        context=_context(),
        paths=arguments.paths,
        json_output=arguments.json,
        sarif=arguments.sarif,
        strict=arguments.strict,
    )


def _add_explain(commands: Any) -> None:
    parser = _add(commands, "explain", "explain one rule of lint", _explain)
    parser.add_argument("code", metavar="CODE", help="for instance LL101")
    _add_json(parser)


def _explain(arguments: argparse.Namespace) -> int:
    from llmops.commands.lint import explain

    return explain(context=_context(), code=arguments.code, json_output=arguments.json)


def _add_affected(commands: Any) -> None:
    parser = _add(commands, "affected", "list the experiments that a change touches, and why", _affected)
    parser.add_argument("--base", metavar="REF", help="compare with the merge base of HEAD and this ref")
    parser.add_argument(
        "--matrix",
        choices=("github", "azure-pipelines"),
        metavar="SYSTEM",
        help="print the matrix of github or azure-pipelines",
    )
    _add_json(parser)


def _affected(arguments: argparse.Namespace) -> int:
    from llmops.commands.affected import affected

    return affected(context=_context(), base=arguments.base, matrix=arguments.matrix, json_output=arguments.json)


def _add_init(commands: Any) -> None:
    parser = _add(commands, "init", "write what a first check needs: experiments, environments, ignored files", _init)
    parser.add_argument("--yes", action="store_true", help="ask nothing; take the flags and the defaults")
    parser.add_argument("--ci", choices=("github", "azure-pipelines", "none"), default="github", help="CI system")
    parser.add_argument("--backend", choices=("local", "azure"), default="local", help="where versions are deployed")
    parser.add_argument("--threshold", action="append", default=[], metavar="METRIC=MIN", help="may be repeated")
    parser.add_argument("--no-install", action="store_true", help="do not install the LLM tool's package")
    parser.add_argument("--force", action="store_true", help="replace files that differ")


def _init(arguments: argparse.Namespace) -> int:
    from llmops.commands.init import init, parse_thresholds
    from llmops.commands.init_plan import Wishes

    thresholds = parse_thresholds(arguments.threshold)
    return init(
        context=_context(),
        wishes=Wishes(ci=arguments.ci, backend=arguments.backend, thresholds=thresholds),
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
    parser = _add(commands, "import", "take a flow that was downloaded from the studio into the repository", _import)
    parser.add_argument("source", metavar="FLOW", type=Path, help="a ZIP file or a folder")
    parser.add_argument("--name", metavar="N", help="name in flows/; the file's name if left out")
    parser.add_argument("--force", action="store_true", help="replace a flow that is there")


def _import(arguments: argparse.Namespace) -> int:
    from llmops.commands.import_flow import import_flow

    return import_flow(context=_context(), source=arguments.source, name=arguments.name, force=arguments.force)


def _add_export(commands: Any) -> None:
    parser = _add(commands, "export", "write a flow as a ZIP file for the studio", _export)
    parser.add_argument("flow", metavar="FLOW", help="folder or file of the flow, relative to the project")
    parser.add_argument("--output", metavar="FILE", type=Path, help="NAME.zip in this folder if left out")


def _export(arguments: argparse.Namespace) -> int:
    from llmops.commands.export_flow import export_flow

    return export_flow(context=_context(), flow=arguments.flow, output=arguments.output)


def _add_drift(commands: Any) -> None:
    parser = _add(commands, "drift", "compare a downloaded flow with the repository's", _drift)
    parser.add_argument("source", metavar="FLOW", type=Path, help="a ZIP file or a folder")
    parser.add_argument("--flow", metavar="PATH", help="the repository's flow; flows/NAME if left out")
    _add_json(parser)


def _drift(arguments: argparse.Namespace) -> int:
    from llmops.commands.drift import drift

    return drift(context=_context(), source=arguments.source, flow=arguments.flow, json_output=arguments.json)


def _add_doctor(commands: Any) -> None:
    parser = _add(commands, "doctor", "say what of this machine and repository would stop a check", _doctor)
    parser.add_argument("--environment", metavar="E", help="look at this one's connections; at all if left out")
    parser.add_argument("--offline", action="store_true", help="ask no model service and no cloud")
    _add_json(parser)


def _doctor(arguments: argparse.Namespace) -> int:
    from llmops.commands.doctor import doctor

    context = _context()
    environment = arguments.environment or context.env.get("LLMOPS_ENVIRONMENT") or None
    return doctor(context=context, environment=environment, offline=arguments.offline, json_output=arguments.json)


def _add_schema(commands: Any) -> None:
    parser = _add(commands, "schema", "print the JSON Schemas of the configuration files", _schema)
    parser.add_argument(
        "kind", nargs="?", choices=("experiment", "environment"), metavar="KIND", help="all if left out"
    )
    parser.add_argument("--output", metavar="DIR", type=Path, help="write them into this folder")
    parser.add_argument("--check", action="store_true", help="compare the files of --output, or those that are shipped")


def _schema(arguments: argparse.Namespace) -> int:
    from llmops.commands.schema import schema
    from llmops.config.schema import SCHEMAS

    return schema(
        write=_context().write,
        kind=arguments.kind,
        output=None if arguments.check else arguments.output,
        check=arguments.check,
        folder=arguments.output or SCHEMAS,
    )


def _add_setup(commands: Any) -> None:
    _add(commands, "setup", "install the LLM tool's package for flows with LLM or prompt nodes", _setup)


def _setup(_: argparse.Namespace) -> int:
    from llmops.commands.setup import setup

    context = _context()
    return setup(write=context.write, env=context.env)


def _add_stand_in(commands: Any) -> None:
    parser = _add(commands, "stand-in", "serve the stand-in model, which is no real model, on this machine", _stand_in)
    parser.add_argument("--port", type=int, default=0, metavar="N", help="0 picks a free one")
    parser.add_argument("--latency-ms", type=float, default=0.0, metavar="MS", help="added to every answer")
    parser.add_argument("--calls-per-second", type=float, metavar="X", help="refuse more than this with 429")


def _stand_in(arguments: argparse.Namespace) -> int:
    from llmops.commands.stand_in import stand_in

    return stand_in(port=arguments.port, latency_ms=arguments.latency_ms, calls_per_second=arguments.calls_per_second)


def _add_environment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--environment", metavar="E", help="environment; the experiment's own if left out")


def _add_strategy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--strategy",
        choices=("canary", "blue-green", "immediate"),
        help="how it gets its traffic; the environment's rule",
    )


def _add_register(commands: Any) -> None:
    parser = _add(commands, "register", "keep the flow that passed its gate as a version", _register)
    parser.add_argument("experiment", metavar="EXPERIMENT")
    _add_environment(parser)
    parser.add_argument("--run", dest="recorded_run", metavar="RUN", help="the very files that this run saw")
    parser.add_argument("--without-verdict", metavar="REASON", help="register without a passing verdict; is recorded")
    _add_json(parser)


def _register(arguments: argparse.Namespace) -> int:
    from llmops.commands.register import register

    return register(
        context=_context(),
        tools=_tools(),
        experiment=arguments.experiment,
        run=arguments.recorded_run,
        without_verdict=arguments.without_verdict,
        flags=_options(arguments),
        json_output=arguments.json,
    )


def _add_models(commands: Any) -> None:
    parser = _add(commands, "models", "list, show or verify registered versions", _models)
    parser.add_argument("what", choices=("list", "show", "verify"))
    parser.add_argument("model", nargs="?", metavar="MODEL", help="for show and verify: the experiment's name")
    parser.add_argument("--version", metavar="V", help="the newest if left out")
    parser.add_argument("--package", metavar="DIR", type=Path, help="verify: a copy of a package, without any backend")
    _add_environment(parser)
    _add_json(parser)


def _models(arguments: argparse.Namespace) -> int:
    from llmops.commands.models import list_models, show_model, verify_model

    shared = {
        "context": _context(),
        "tools": _tools(),
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
    parser = _add(commands, "deploy", "give a registered version an endpoint's traffic, with proof", _deploy)
    parser.add_argument("experiment", metavar="EXPERIMENT")
    _add_environment(parser)
    parser.add_argument("--version", metavar="V", help="the newest if left out")
    _add_strategy(parser)
    parser.add_argument("--dry-run", action="store_true", help="show the plan and change nothing")
    parser.add_argument("--clean", action="store_true", help="only delete deployments that are due")
    _add_json(parser)


def _deploy(arguments: argparse.Namespace) -> int:
    from llmops.commands.deploy import deploy

    return deploy(
        context=_context(),
        tools=_tools(),
        experiment=arguments.experiment,
        environment=arguments.environment,
        version=arguments.version,
        strategy=arguments.strategy,
        dry_run=arguments.dry_run,
        clean=arguments.clean,
        json_output=arguments.json,
    )


def _add_promote(commands: Any) -> None:
    parser = _add(commands, "promote", "give an environment the version that serves in another", _promote)
    parser.add_argument("experiment", metavar="EXPERIMENT")
    parser.add_argument("--from", dest="source", metavar="A", required=True, help="environment to promote from")
    parser.add_argument("--to", metavar="B", required=True, help="environment to promote to")
    parser.add_argument("--approved-by", action="append", default=[], metavar="NAME", help="once for each; is recorded")
    parser.add_argument("--evidence", metavar="DIR", type=Path, help="write what a reviewer reads, and stop")
    _add_strategy(parser)
    _add_json(parser)


def _promote(arguments: argparse.Namespace) -> int:
    from llmops.commands.promote import promote

    return promote(
        context=_context(),
        tools=_tools(),
        experiment=arguments.experiment,
        source=arguments.source,
        to=arguments.to,
        approvals=[name for text in arguments.approved_by for name in text.split(",")],
        evidence=arguments.evidence,
        strategy=arguments.strategy,
        json_output=arguments.json,
    )


def _add_rollback(commands: Any) -> None:
    parser = _add(commands, "rollback", "return to what served before the last rollout", _rollback)
    parser.add_argument("experiment", metavar="EXPERIMENT")
    _add_environment(parser)
    parser.add_argument("--to", metavar="VERSION", help="a version instead")
    parser.add_argument("--reason", default="", metavar="TEXT", help="why; is recorded")
    _add_json(parser)


def _rollback(arguments: argparse.Namespace) -> int:
    from llmops.commands.rollback import rollback

    return rollback(
        context=_context(),
        tools=_tools(),
        experiment=arguments.experiment,
        environment=arguments.environment,
        to=arguments.to,
        reason=arguments.reason or "rolled back by hand",
        json_output=arguments.json,
    )


def _add_status(commands: Any) -> None:
    parser = _add(commands, "status", "what serves where, and what is stuck", _status)
    parser.add_argument("experiment", nargs="?", metavar="EXPERIMENT", help="all if left out")
    parser.add_argument("--environment", metavar="E", help="all if left out")
    _add_json(parser)


def _status(arguments: argparse.Namespace) -> int:
    from llmops.commands.status import status

    return status(
        context=_context(),
        tools=_tools(),
        experiment=arguments.experiment,
        environment=arguments.environment,
        json_output=arguments.json,
    )


def _add_endpoint(commands: Any) -> None:
    parser = _add(commands, "endpoint", "start, stop and look at the endpoints on this machine", _endpoint)
    parser.add_argument("action", choices=("start", "stop", "status", "logs", "keys"))
    parser.add_argument("endpoint", nargs="?", metavar="ENDPOINT", help="status: all if left out")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="start: the port it had before if left out")
    parser.add_argument("--deployment", metavar="D", help="logs: what this one wrote; the router if left out")
    parser.add_argument("--requests", action="store_true", help="logs: what became of the last requests")
    parser.add_argument("--lines", type=int, default=100, metavar="N", help="logs: how many")
    parser.add_argument("--rotate", choices=("primary", "secondary"), help="keys: replace this one")
    _add_json(parser)


def _endpoint(arguments: argparse.Namespace) -> int:
    from llmops.commands import endpoint

    context, action, name = _context(), arguments.action, arguments.endpoint
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
    parser = _add(commands, "invoke", "send one request to an experiment's endpoint", _invoke)
    parser.add_argument("experiment", metavar="EXPERIMENT")
    _add_environment(parser)
    parser.add_argument("--input", dest="inputs", action="append", default=[], metavar="NAME=VALUE", help="one input")
    parser.add_argument("--file", type=Path, metavar="FILE", help="JSON object with the inputs")
    parser.add_argument("--deployment", metavar="D", help="ask this one, past the traffic split")
    parser.add_argument("--timeout-s", type=float, default=60.0, metavar="S", help="seconds to wait for the answer")
    _add_json(parser)


def _invoke(arguments: argparse.Namespace) -> int:
    from llmops.commands.invoke import invoke

    return invoke(
        context=_context(),
        tools=_tools(),
        experiment=arguments.experiment,
        environment=arguments.environment,
        inputs=arguments.inputs,
        file=arguments.file,
        deployment=arguments.deployment,
        timeout_s=arguments.timeout_s,
        json_output=arguments.json,
    )


def _tools() -> Tools:
    from llmops.backends.registry import open_delivery
    from llmops.commands.targets import SystemClock, Tools

    return Tools(open_delivery=open_delivery, clock=SystemClock())


def _add_emulator(commands: Any) -> None:
    summary = "Azure Machine Learning on this machine: start it, or run a command against it"
    parser = _add(commands, "emulator", summary, _emulator)
    parser.add_argument("action", choices=["start", "run"], help="serve until Ctrl-C, or run one command")
    parser.usage = "llmops emulator {start,run} [options] [-- COMMAND …]"
    parser.set_defaults(takes_rest=True)
    parser.add_argument("--port", type=int, default=0, metavar="N", help="0 picks a free one")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keep the state here; forgotten when left out")
    parser.add_argument(
        "--workspace", action="append", default=[], metavar="NAME", help="one that exists; else any does"
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
        connections_of=arguments.connections_of,
        faults=arguments.faults,
        settings=arguments.settings,
        requests=arguments.requests,
        python=arguments.python,
    )
    if arguments.action == "run":
        return run(context=_context(), options=options, command=arguments.rest)
    return start(context=_context(), options=options, env_file=arguments.env_file)


def _options(arguments: argparse.Namespace) -> Options:
    from llmops.config.layers import read_options

    texts = {name: getattr(arguments, name, None) for name in _LAYERED}
    return read_options(texts, where=lambda option: f"--{option.replace('_', '-')}")


def _with_variables(argv: Sequence[str], env: Mapping[str, str], parser: argparse.ArgumentParser) -> list[str]:
    """Append the options that are set as variables and not as flags; layered ones are read with the configuration."""
    command = _command_parser(argv, parser)
    if command is None:
        return list(argv)
    added: list[str] = []
    for action in command._actions:  # noqa: SLF001 argparse offers no other list of its options
        flag = next((text for text in action.option_strings if text.startswith("--")), "")
        value = env.get(f"LLMOPS_{flag[2:].replace('-', '_').upper()}", "") if flag else ""
        if not value or action.dest in {"help", *_LAYERED} or _is_given(flag, argv):
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


def _context(*, host: str | None = None) -> Context:
    from llmops.commands.context import Context
    from llmops.hosts.detect import detect
    from llmops.hosts.progress import ProgressDisplay

    is_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size((100, 24)).columns
    return Context(
        folder=Path.cwd(),
        env=dict(os.environ),
        write=lambda text: print(text, flush=True),
        say=_say,
        progress=ProgressDisplay(sys.stderr, is_terminal=sys.stderr.isatty(), width=width),
        host=detect(os.environ, asked=host),
        width=width,
        color=is_terminal and "NO_COLOR" not in os.environ,
        encoding=sys.stdout.encoding or "utf-8",
    )


def _say(text: str) -> None:
    from llmops.reports.plain_text import defuse_log_commands

    print(defuse_log_commands(text), file=sys.stderr, flush=True)


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


_COMMANDS = (
    _add_check,
    _add_run,
    _add_evaluate,
    _add_test,
    _add_runs,
    _add_gate,
    _add_selftest,
    _add_report,
    _add_digest,
    _add_register,
    _add_models,
    _add_deploy,
    _add_promote,
    _add_rollback,
    _add_status,
    _add_endpoint,
    _add_invoke,
    _add_setup,
    _add_stand_in,
    _add_comment,
    _add_lint,
    _add_explain,
    _add_affected,
    _add_init,
    _add_import,
    _add_export,
    _add_drift,
    _add_doctor,
    _add_schema,
    _add_emulator,
)
