"""Only runs that were measured alike are compared."""

from __future__ import annotations

from llmops.errors import Problem, UsageError
from llmops.records import EvaluationRecord


def require_comparable(candidate: EvaluationRecord, baseline: EvaluationRecord) -> None:
    """Refuse to compare runs over other data, by other evaluators or by other judges.

    Raises:
        UsageError: everything that differs, and how to score the baseline again.
    """
    pairs = [("data set", candidate.run.dataset.digest, baseline.run.dataset.digest)]
    for name in sorted({*candidate.evaluators, *baseline.evaluators}):
        pairs.append(
            (f"evaluator '{name}'", candidate.evaluators.get(name, "none"), baseline.evaluators.get(name, "none"))
        )
    for name in sorted({*candidate.judges} & {*baseline.judges}):
        pairs.append((f"judge of evaluator '{name}'", candidate.judges[name], baseline.judges[name]))
    problems = [
        Problem(
            what=f"the {what} of candidate and baseline differ",
            found=f"candidate {new}, baseline {old}",
            fix=f"Score the baseline again: llmops evaluate {baseline.run.id}",
        )
        for what, new, old in pairs
        if new != old
    ]
    if problems:
        raise UsageError(*problems)
