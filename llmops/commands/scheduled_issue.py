"""One issue or work item for each experiment and environment: open while a scheduled evaluation fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from llmops.commands.context import Context
from llmops.commands.scheduled_history import Trouble
from llmops.config.model import Alerts, Project
from llmops.errors import ExitCode, LlmopsError
from llmops.history.entry import HistoryEntry
from llmops.hosts.host import Env, HostName
from llmops.hosts.issues import Issues, Text
from llmops.reports.scheduled import render_issue

Sleep = Callable[[float], None]


def tell_issues(
    context: Context,
    project: Project,
    entries: Sequence[HistoryEntry],
    history: Sequence[HistoryEntry],
    *,
    sleep: Sleep,
) -> list[Trouble]:
    """Open, update or close the issue of each experiment and environment that was measured.

    A failed gate opens one. Where every measurement passed, it is closed. In between, when evidence is missing or
    something could not be reached, an open one is kept up to date and none is opened: nobody knows.

    Returns:
        What could not be told; it warns and changes no exit code.
    """
    troubles = []
    for experiment, environment in dict.fromkeys((entry.experiment, entry.environment) for entry in entries):
        alerts = project.environments[environment].alerts
        if not alerts.enabled or context.host.name not in _OPENERS:
            continue
        group = [one for one in entries if (one.experiment, one.environment) == (experiment, environment)]
        try:
            _tell(context, _OPENERS[context.host.name](context.env, alerts, sleep), alerts, group, history)
        except LlmopsError as error:
            text = " ".join(str(error).split())
            sentence = f"the issue of '{experiment}' in '{environment}' was not told: {text}"
            troubles.append(Trouble(sentence, ExitCode.PASS))
    return troubles


def _tell(
    context: Context,
    issues: Issues,
    alerts: Alerts,
    group: Sequence[HistoryEntry],
    history: Sequence[HistoryEntry],
) -> None:
    experiment, environment = group[0].experiment, group[0].environment
    key = f"scheduled:{experiment}:{environment}"
    is_over = all(entry.exit_code == ExitCode.PASS for entry in group)
    text = Text(*render_issue(group, history, is_over=is_over))
    if any(entry.exit_code == ExitCode.GATE_FAILED for entry in group):
        title = f"{experiment} does not pass its scheduled evaluation in {environment}"
        change = issues.open(key=key, title=title, text=text, labels=alerts.labels)
    elif is_over:
        change = issues.close(key=key, text=text)
    else:
        change = issues.update(key=key, text=text)
    if change != "none":
        context.say(f"The issue of '{experiment}' in '{environment}': {change}.")


def _github(env: Env, _: Alerts, sleep: Sleep) -> Issues:
    from llmops.hosts.github_issues import open_github_issues

    return open_github_issues(env, sleep=sleep)


def _azure(env: Env, alerts: Alerts, sleep: Sleep) -> Issues:
    from llmops.hosts.azure_boards import open_azure_boards

    return open_azure_boards(env, work_item_type=alerts.work_item_type, sleep=sleep)


_OPENERS: Mapping[HostName, Callable[[Env, Alerts, Sleep], Issues]] = {"github": _github, "azure-pipelines": _azure}
