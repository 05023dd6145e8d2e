"""Commands that run flows, evaluate them, judge them and report."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmops.cli.arguments import add_command, add_json, add_layered, layered_options, positive
from llmops.cli.terminal import open_context, open_tools, read_line
from llmops.errors import UsageError

if TYPE_CHECKING:
    from llmops.engine.gateway.settings import ModelUse


def _add_check(commands: Any) -> None:
    parser = add_command(commands, "check", "run, evaluate, compare with the baseline, gate and report", _check)
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help="all when none is named")
    add_layered(parser)
    parser.add_argument("--baseline", metavar="REF", help="git ref to compare with, or none")
    parser.add_argument("--output", metavar="DIR", type=Path, help="folder for the reports")
    parser.add_argument(
        "--add-repeats", metavar="K", type=positive, default=0, help="measure each row K times more and pool"
    )
    _add_model_use(parser)
    add_json(parser)


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
        context=open_context(),
        experiments=arguments.experiments,
        flags=layered_options(arguments),
        baseline=arguments.baseline,
        output=arguments.output,
        json_output=arguments.json,
        add_repeats=arguments.add_repeats,
        use=_model_use(arguments),
    )


def _add_run(commands: Any) -> None:
    parser = add_command(commands, "run", "run an experiment's flow over its data set", _run)
    parser.add_argument("experiment", metavar="EXPERIMENT", nargs="?")
    parser.add_argument("--file", metavar="FILE", type=Path, help="run as this run file of prompt flow says, instead")
    add_layered(parser)
    parser.add_argument("--ref", metavar="REF", help="run the flow as it stands at this git ref")
    parser.add_argument("--estimate", action="store_true", help="say what the run would use, and run nothing")
    _add_detach(parser)
    _add_model_use(parser)
    add_json(parser)


def _add_detach(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--detach", action="store_true", help="start the run and do not wait; see `llmops runs wait`")


def _run(arguments: argparse.Namespace) -> int:
    if _names_a_file(arguments, arguments.experiment, "EXPERIMENT"):
        from llmops.commands.run_file import run_file

        return run_file(
            context=open_context(),
            file=arguments.file,
            environment=arguments.environment or os.environ.get("LLMOPS_ENVIRONMENT"),
            run=None,
            evaluate=False,
            json_output=arguments.json,
            detach=arguments.detach,
        )
    from llmops.commands.run import run

    return run(
        context=open_context(),
        experiment=arguments.experiment,
        flags=layered_options(arguments),
        ref=arguments.ref,
        json_output=arguments.json,
        use=_model_use(arguments),
        estimates=arguments.estimate,
        detach=arguments.detach,
    )


def _add_evaluate(commands: Any) -> None:
    parser = add_command(commands, "evaluate", "score the lines of a run with the experiment's evaluators", _evaluate)
    parser.add_argument(
        "names",
        metavar="RUN",
        nargs="*",
        help="the id that `llmops run` printed; with --scheduled: experiments, or all",
    )
    parser.add_argument("--file", metavar="FILE", type=Path, help="a run file of prompt flow that names the evaluation")
    parser.add_argument("--run", metavar="RUN", dest="target", help="with --file: id or name of the run to evaluate")
    parser.add_argument("--scheduled", action="store_true", help="measure the main branch and what serves, instead")
    parser.add_argument("--output", metavar="DIR", type=Path, help="with --scheduled: folder for the reports")
    parser.add_argument("--occasion", metavar="TEXT", help="with --scheduled: only answers of the same one are reused")
    parser.add_argument("--dry-run", action="store_true", help="with --scheduled: record nothing and tell nobody")
    _add_detach(parser)
    add_layered(parser)
    add_json(parser)


def _names_a_file(arguments: argparse.Namespace, positional: str | None, name: str) -> bool:
    """Say whether a run file is asked for; it stands in the place of the positional argument."""
    if (arguments.file is None) == (positional is None):
        found = "both" if positional else "neither"
        raise UsageError.of(f"give {name} or --file", where=f"llmops {arguments.command}", found=found)
    return arguments.file is not None


def _evaluate(arguments: argparse.Namespace) -> int:
    if arguments.scheduled:
        return _evaluate_scheduled(arguments)
    run = _at_most_one(arguments.names)
    if _names_a_file(arguments, run, "RUN"):
        from llmops.commands.run_file import run_file

        return run_file(
            context=open_context(),
            file=arguments.file,
            environment=arguments.environment or os.environ.get("LLMOPS_ENVIRONMENT"),
            run=arguments.target,
            evaluate=True,
            json_output=arguments.json,
            detach=arguments.detach,
        )
    if arguments.detach:
        raise UsageError.of("only one run can be left to itself", where="--detach", expected="--file FILE --run RUN")
    from llmops.commands.evaluate import evaluate

    assert run is not None
    return evaluate(context=open_context(), run=run, flags=layered_options(arguments), json_output=arguments.json)


def _at_most_one(names: Sequence[str]) -> str | None:
    if len(names) > 1:
        raise UsageError.of("one run at a time", where="llmops evaluate", found=", ".join(names))
    return names[0] if names else None


def _evaluate_scheduled(arguments: argparse.Namespace) -> int:
    from llmops.commands.evaluate_scheduled import evaluate_scheduled

    if arguments.file:
        raise UsageError.of("--scheduled evaluates no run file", where="llmops evaluate")
    return evaluate_scheduled(
        context=open_context(),
        tools=open_tools(),
        experiments=arguments.names,
        flags=layered_options(arguments),
        output=arguments.output,
        occasion=arguments.occasion,
        dry_run=arguments.dry_run,
        json_output=arguments.json,
    )


def _add_test(commands: Any) -> None:
    parser = add_command(commands, "test", "run one input through a flow and show what each node did", _test)
    parser.add_argument("flow", metavar="FLOW", help="an experiment, or a flow: folder, file or callable")
    parser.add_argument(
        "--inputs", metavar="NAME=VALUE", nargs="+", default=[], help="inputs, or one file whose first row is taken"
    )
    parser.add_argument("--interactive", action="store_true", help="ask for inputs until the end of input")
    parser.add_argument("--variants", metavar="NODE=VARIANT,…", help="variants of nodes")
    parser.add_argument("--init", metavar="NAME=VALUE", nargs="+", default=[], help="arguments of the flow's class")
    parser.add_argument("--environment", metavar="E", help="environment whose connections are used")
    add_json(parser)


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
        return chat(context=open_context(), wish=wish, read=read_line)
    return test(context=open_context(), wish=wish, json_output=arguments.json)


def _add_runs(commands: Any) -> None:
    parser = add_command(commands, "runs", "list, show, compare and export runs", _runs)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    listing = actions.add_parser("list", help="every run, newest first", allow_abbrev=False)
    showing = actions.add_parser("show", help="one run: what it was made of, metrics, lines", allow_abbrev=False)
    comparing = actions.add_parser("compare", help="two or more runs side by side, with the rows that differ")
    logs = actions.add_parser("logs", help="what a run's flow printed", allow_abbrev=False)
    exporting = actions.add_parser("export", help="the lines of a run as JSON Lines or CSV", allow_abbrev=False)
    waiting = actions.add_parser("wait", help="wait for a run that was started with --detach", allow_abbrev=False)
    cancelling = actions.add_parser("cancel", help="ask a run to end", allow_abbrev=False)
    for one in (showing, logs, exporting, waiting, cancelling):
        one.add_argument("recorded_run", metavar="RUN", help="id, the beginning of one, or name")
    comparing.add_argument("recorded_runs", metavar="RUN", nargs="+", help="ids or names")
    logs.add_argument("--follow", action="store_true", help="go on until the run has ended")
    exporting.add_argument("--output", metavar="FILE", type=Path, help="a .jsonl or .csv file; standard output if none")
    for one in (listing, showing, comparing, waiting):
        add_json(one)
    for one in (listing, showing, comparing, logs, exporting, waiting, cancelling):
        one.add_argument("--environment", metavar="E", help="ask this environment's backend too")


def _runs(arguments: argparse.Namespace) -> int:
    from llmops.commands import runs

    by_action: Mapping[str, Callable[..., int]] = {
        "list": runs.list_runs,
        "show": runs.show_run,
        "compare": runs.compare_runs,
        "logs": runs.show_logs,
        "export": runs.export_run,
        "wait": runs.wait_for_run,
        "cancel": runs.cancel_run,
    }
    names = {"recorded_run": "run", "recorded_runs": "runs", "json": "json_output"}
    given = ("recorded_run", "recorded_runs", "json", "follow", "output", "environment")
    values = {names.get(name, name): getattr(arguments, name) for name in given if hasattr(arguments, name)}
    return by_action[arguments.action](context=open_context(), **values)


def _add_gate(commands: Any) -> None:
    parser = add_command(commands, "gate", "judge an evaluation by the experiment's limits", _gate)
    parser.add_argument("evaluation", metavar="EVALUATION", nargs="?", help="the id that `llmops evaluate` printed")
    parser.add_argument("--baseline", metavar="EVALUATION", help="the baseline's evaluation")
    parser.add_argument("--power", metavar="EXPERIMENT", help="only say what the experiment's data set can find")
    add_layered(parser)
    parser.add_argument("--output", metavar="FILE", type=Path, help="write the verdict here too")
    add_json(parser)


def _gate(arguments: argparse.Namespace) -> int:
    if arguments.power:
        from llmops.commands.gate_power import gate_power

        return gate_power(
            context=open_context(),
            experiment=arguments.power,
            flags=layered_options(arguments),
            json_output=arguments.json,
        )
    if not arguments.evaluation:
        raise UsageError.of("no evaluation is named", where="llmops gate", fix="Name one, or use --power EXPERIMENT.")
    from llmops.commands.gate import gate

    return gate(
        context=open_context(),
        evaluation=arguments.evaluation,
        baseline=arguments.baseline,
        flags=layered_options(arguments),
        output=arguments.output,
        json_output=arguments.json,
    )


def _add_selftest(commands: Any) -> None:
    parser = add_command(
        commands, "selftest", "plant known regressions and say which of them the gate stops", _selftest
    )
    parser.add_argument("experiment", metavar="EXPERIMENT")
    add_layered(parser)
    add_json(parser)


def _selftest(arguments: argparse.Namespace) -> int:
    from llmops.commands.selftest import selftest

    return selftest(
        context=open_context(),
        experiment=arguments.experiment,
        flags=layered_options(arguments),
        json_output=arguments.json,
    )


def _add_report(commands: Any) -> None:
    parser = add_command(commands, "report", "render a verdict again", _report)
    parser.add_argument("verdict", metavar="VERDICT", type=Path, help="a verdict.json, or a folder with some")
    parser.add_argument(
        "--output", metavar="DIR", type=Path, help="folder for the reports; the verdict's own if left out"
    )
    parser.add_argument("--format", action="append", default=[], help="json, markdown, junit or html; all if left out")
    parser.add_argument("--host", metavar="HOST", help="github, azure-pipelines or none; detected if left out")
    parser.add_argument("--expected", metavar="NAMES", help="experiments, by spaces, that need a verdict")
    parser.add_argument("--exit-code", action="store_true", help="end with the checks' exit code")
    add_json(parser)


def _report(arguments: argparse.Namespace) -> int:
    from llmops.commands.report import report

    return report(
        context=open_context(host=arguments.host),
        verdict=arguments.verdict,
        output=arguments.output,
        formats=arguments.format,
        expected=None if arguments.expected is None else arguments.expected.split(),
        exit_code=arguments.exit_code,
        json_output=arguments.json,
    )


def _add_comment(commands: Any) -> None:
    parser = add_command(
        commands, "comment", "say what came of the checks in one comment on the pull request", _comment
    )
    parser.add_argument("verdict", metavar="VERDICT", type=Path, help="a verdict.json, or a folder with some")
    parser.add_argument("--host", metavar="HOST", help="github or azure-pipelines; detected if left out")
    parser.add_argument("--expected", metavar="NAMES", help="experiments, by spaces, that need a verdict")
    parser.add_argument("--key", default="check", metavar="KEY", help="tells this comment from others of ours")
    parser.add_argument("--status", action="store_true", help="also set a status or a check run")
    parser.add_argument("--dry-run", action="store_true", help="write the comment and post nothing")


def _comment(arguments: argparse.Namespace) -> int:
    from llmops.commands.comment import comment

    return comment(
        context=open_context(host=arguments.host),
        verdict=arguments.verdict,
        expected=None if arguments.expected is None else arguments.expected.split(),
        key=arguments.key,
        status=arguments.status,
        dry_run=arguments.dry_run,
    )


COMMANDS = (
    _add_check,
    _add_run,
    _add_evaluate,
    _add_test,
    _add_runs,
    _add_gate,
    _add_selftest,
    _add_report,
    _add_comment,
)
