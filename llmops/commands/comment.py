"""`llmops comment`: one comment on the pull request that says what came of the checks, updated by each run."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmops.commands.context import Context
from llmops.commands.host_report import outcome_of
from llmops.commands.recorded import find_missing, find_verdicts, project_at_hand, redacted
from llmops.errors import ExitCode, LlmopsError, UsageError, first_to_report
from llmops.hosts.host import Annotation, Env
from llmops.hosts.pull_request import PullRequest, State
from llmops.reports.comment import render_comment
from llmops.reports.plain_text import defuse_log_commands, show_line

if TYPE_CHECKING:
    from llmops.hosts.github_pull_request import FinishedRun

DEFAULT_KEY = "check"
_KEY = re.compile(r"[A-Za-z0-9._-]{1,60}")
_STATES: Mapping[str, State] = {"pass": "pass", "fail": "fail", "inconclusive": "inconclusive"}


def comment(
    *,
    context: Context,
    verdict: Path,
    expected: Sequence[str] | None = None,
    key: str = DEFAULT_KEY,
    status: bool = False,
    dry_run: bool = False,
) -> int:
    """Make the pull request's comment say what the verdicts say.

    Args:
        verdict: a `verdict.json`, the folder that holds one, or a folder with several below it.
        expected: experiments that should have a verdict; one that has none is named in the comment. When given, even
            if empty, a folder without verdicts is no error.
        key: tells this comment from others of ours on the same pull request.
        status: also set a status (Azure Repos) or a check run (GitHub) with the limits that were not met.
        dry_run: write the comment to standard output and post nothing.

    Returns:
        0, also when the comment could not be posted: it is a copy of the verdict, which another command's exit code
        carries. Standard error then says why.

    Raises:
        UsageError: no readable verdict there, or a key of other characters.
    """
    if not _KEY.fullmatch(key):
        raise UsageError.of("not a key", where="--key", found=repr(key), expected="letters, digits, '.', '_' and '-'")
    project = project_at_hand(context.folder)
    found = [redacted(one, project) for one in find_verdicts(verdict, expected=expected)]
    missing = find_missing(found, expected)
    verdicts = [one.verdict for one in found]
    finished = _finished_run(context)
    link = finished.link if finished else context.host.run_link(context.env)
    links = {"Full HTML report": context.host.artifacts_link(link), "Run": link} if link else {}
    body = render_comment(verdicts, missing=missing, links=links)
    if finished:
        body = f"{body}\n_Told by the pull request's own run, which ended with {finished.conclusion}._\n"
    if dry_run:
        context.write(defuse_log_commands(body))
        return ExitCode.PASS
    codes = [ExitCode(one.exit_code) for one in verdicts] + [ExitCode.INCONCLUSIVE for _ in missing]
    if finished and finished.conclusion != "success":
        codes.append(ExitCode.INCONCLUSIVE)
    worst = first_to_report(codes)
    try:
        pull_request = _open(context.host.name, context.env)
        posted = pull_request.put_comment(body, key=key, is_open=worst != ExitCode.PASS)
        context.write(f"The comment was {posted}." if posted != "unchanged" else "The comment says so already.")
        if status:
            _put_status(pull_request, key, worst, body, link)
    except LlmopsError as error:
        _warn(context, error)
    return ExitCode.PASS


def _put_status(pull_request: PullRequest, key: str, worst: ExitCode, body: str, link: str) -> None:
    title = body.partition("\n")[0].lstrip("# ")
    pull_request.put_status(
        name=f"llmops/{key}", state=_STATES.get(outcome_of(worst), "error"), summary=title, link=link
    )


def _warn(context: Context, error: LlmopsError) -> None:
    problem = error.problems[0]
    reason = ": ".join(part for part in (problem.where, problem.what, problem.found) if part)
    message = defuse_log_commands(show_line(f"{reason}. {problem.fix}".strip(), 1_000))
    title = "The comment was not posted; the verdict stands"
    if context.host.name == "none":
        context.say(f"warning: {title}: {message}")
    else:
        context.command(context.host.annotate(Annotation(level="warning", title=title, message=message)))


def _finished_run(context: Context) -> FinishedRun | None:
    if context.host.name != "github":
        return None
    from llmops.hosts.github_pull_request import describe_finished_run

    return describe_finished_run(context.env)


def _open(host: str, env: Env) -> PullRequest:
    if host not in _OPENERS:
        raise UsageError.of("no CI system is known here", fix="Run it in a pull request's job, or use --dry-run.")
    return _OPENERS[host](env)


def _open_github(env: Env) -> PullRequest:
    from llmops.hosts.github_pull_request import open_github_pull_request

    return open_github_pull_request(env)


def _open_azure(env: Env) -> PullRequest:
    from llmops.hosts.azure_pull_request import open_azure_pull_request

    return open_azure_pull_request(env)


_OPENERS: Mapping[str, Callable[[Env], PullRequest]] = {"github": _open_github, "azure-pipelines": _open_azure}
