"""The comment on a pull request: one or several verdicts, the worst first, on one screen as far as it goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmops.records import VerdictRecord
from llmops.reports.markdown import MARKS, MAX_CHARACTERS, code, cut_at_line, render
from llmops.reports.numbers import count
from llmops.reports.summary import OUTCOME_WORDS, describe_changes, describe_findings, describe_outcome

_ORDER = {"fail": 0, "inconclusive": 1, "pass": 2}


def render_comment(
    verdicts: Sequence[VerdictRecord], *, missing: Sequence[str] = (), links: Mapping[str, str] | None = None
) -> str:
    """Write the answer to a pull request as Markdown of at most `MAX_CHARACTERS` characters.

    Args:
        verdicts: of the experiments that were checked.
        missing: experiments that were to be checked and have no verdict.
        links: label to an address of ours, shown at the end.
    """
    footer = " · ".join(f"[{label}]({address})" for label, address in (links or {}).items() if address)
    ordered = sorted(verdicts, key=lambda verdict: _ORDER[verdict.outcome])
    if len(ordered) == 1 and not missing:
        text = render(ordered[0])
    elif not ordered and not missing:
        text = "## ⚪ No experiment is affected\n\nNothing that an experiment depends on has changed.\n"
    else:
        told = [render(verdict) for verdict in ordered if verdict.outcome != "pass"]
        text = "\n".join((_overview(ordered, missing), *told))
    return f"{cut_at_line(text, MAX_CHARACTERS - len(footer) - 2)}\n{footer}".rstrip() + "\n"


def _overview(verdicts: Sequence[VerdictRecord], missing: Sequence[str]) -> str:
    words = [(sum(one.outcome == outcome for one in verdicts), OUTCOME_WORDS[outcome]) for outcome in MARKS]
    tally = ", ".join(f"{number} {word}" for number, word in (*words, (len(missing), "without a verdict")) if number)
    worst = "fail" if missing else verdicts[0].outcome
    lines = [
        f"## {MARKS[worst]} {count(len(verdicts) + len(missing), 'experiment')}: {tally}",
        "",
        "| Experiment | Outcome | Limits | Against the baseline |",
        "| :-- | :-- | :-- | :-- |",
        *(f"| {_cell(name)} | {MARKS['fail']} no verdict: see the log of its job | | |" for name in missing),
        *(_row(verdict) for verdict in verdicts),
        "",
    ]
    return "\n".join(lines)


def _row(verdict: VerdictRecord) -> str:
    outcome = f"{MARKS[verdict.outcome]} {describe_outcome(verdict)}"
    against = code(describe_changes(verdict).replace("|", "¦"))
    return f"| {_cell(verdict.experiment)} | {outcome} | {describe_findings(verdict)} | {against} |"


def _cell(name: str) -> str:
    return code(name.replace("|", "¦"), 60)
