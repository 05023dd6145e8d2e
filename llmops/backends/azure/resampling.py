"""Confidence about a number that only its evaluator can form.

Prompt flow's service runs an aggregation once, so it is run again over resampled rows on this machine, over the very
lines that the service answered with.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

from llmops.backends.protocols import Progress, RunRequest, Runs
from llmops.errors import LlmopsError
from llmops.records import RunRecord


def resample(
    request: RunRequest,
    target: RunRecord | None,
    record: RunRecord,
    *,
    open_here: Callable[[], AbstractContextManager[Runs]],
    progress: Progress,
    say: Callable[[str], None],
) -> RunRecord:
    """Return the record with `resampled`, where that was asked for, costs nothing and proves to be the same.

    Args:
        request: an evaluation; one that uses connections is left alone, because its lines might ask models again.
        target: the run that was evaluated.
        record: of the evaluation in the workspace.
        open_here: opens the runs of this machine.
        progress: shows the lines that run here.
        say: takes a sentence for people: why there is no confidence.
    """
    if not request.resamples or record.resampled or not record.metrics or request.connections:
        return record
    with open_here() as here:
        (found,) = here.run([replace(request, target=target, is_required=False)], progress)
    if isinstance(found, LlmopsError):
        say(f"{request.label}: no confidence in {', '.join(record.metrics)}: {found.problems[0].what}.")
        return record
    if (found.lines_digest, found.metrics) != (record.lines_digest, record.metrics):
        say(f"{request.label}: no confidence in {', '.join(record.metrics)}: this machine does not find the same.")
        return record
    return replace(record, resampled=found.resampled)
