"""Score what users were answered while a step of a rollout was watched.

Live requests bring no right answer, so only evaluators that look at inputs and outputs can say something of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmops.backends.protocols import CapturedAnswer
from llmops.config.model import Experiment
from llmops.core.documents import to_json
from llmops.core.mapping import check, parse_mapping
from llmops.core.release_rules import LiveScores
from llmops.core.rollout_checks import Judgement, LiveMetric, judge_scores
from llmops.delivery.endpoint_judge import EndpointJudge
from llmops.delivery.lease import retry
from llmops.errors import Problem, UsageError
from llmops.evaluators.evaluation import evaluate_run
from llmops.flows.model import Flow
from llmops.records import DatasetRef, Line, write_stream
from llmops.releases import Manifest


@dataclass(frozen=True, kw_only=True)
class LiveScorer:
    """Scores live answers of the deployments of one endpoint.

    Attributes:
        judge: of the same version, for what the runs of answers have in common.
    """

    judge: EndpointJudge
    rules: LiveScores

    def score(self, deployment: str, previous: str, start: float, end: float, keep: Callable[[], None]) -> Judgement:
        """See `Judge.score_live`."""
        endpoints, name, limit = self.judge.endpoints, self.judge.endpoint, self.rules.max_answers
        captured = retry(lambda: endpoints.read_captured(name, start=start, end=end, limit=limit), self.judge.clock)
        answers = captured.get(deployment, ())
        if len(answers) < self.rules.min_answers:
            return judge_scores(self.rules, {}, {}, answers=len(answers))
        new = self._measure(deployment, answers, keep)
        old = self._measure(previous, captured.get(previous, ()), keep)
        return judge_scores(self.rules, new, old, answers=len(answers))

    def _measure(
        self, deployment: str, answers: Sequence[CapturedAnswer], keep: Callable[[], None]
    ) -> Mapping[str, LiveMetric]:
        if len(answers) < self.rules.min_answers:
            return {}
        folder, dataset = self._write_rows(deployment, answers)
        lines = [
            Line(row=row, status="completed", inputs=one.inputs, outputs=one.outputs, duration_s=one.duration_s)
            for row, one in enumerate(answers)
        ]
        run = self.judge.write_run(folder, deployment, lines, dataset=dataset)
        names = evaluators_of(self.rules)
        evaluations = self.judge.score(run, folder / _ROWS, names, keep)
        specs = {name: self.judge.experiment.evaluators[name].metrics for name in names}
        evaluation = evaluate_run(self.judge.state, run, evaluations, specs, self.judge.read_lines)
        return {
            f"{one.evaluator}.{one.name}": LiveMetric(value=one.value, n=one.n, higher_is_better=one.higher_is_better)
            for one in evaluation.metrics
        }

    def _write_rows(self, deployment: str, answers: Sequence[CapturedAnswer]) -> tuple[Path, DatasetRef]:
        """Write the inputs as a data set, whose columns are named as the inputs are."""
        rows = [json.dumps(to_json(one.inputs), ensure_ascii=False) for one in answers]
        outputs = [json.dumps(to_json(one.outputs), ensure_ascii=False) for one in answers]
        asked, answered = (_digest(texts) for texts in (rows, outputs))
        folder = self.judge.state / "runs" / f"live-{deployment}-{_digest([asked, answered])[:12]}"
        write_stream(folder / _ROWS, rows)
        path = (folder / _ROWS).relative_to(self.judge.state.parent).as_posix()
        return folder, DatasetRef(name="live", path=path, digest=f"sha256:{asked}", rows=len(rows))


_ROWS = "live.jsonl"


def evaluators_of(rules: LiveScores) -> list[str]:
    """Name the evaluators whose metrics have limits, sorted."""
    return sorted({limit.metric.partition(".")[0] for limit in rules.limits})


def check_rules(
    rules: LiveScores, experiment: Experiment, evaluators: Mapping[str, Flow], manifest: Manifest, *, where: str
) -> None:
    """See that the evaluators can score live answers, before anything is deployed.

    Args:
        rules: of the environment.
        experiment: whose evaluators they are; its evaluators' flows are in `evaluators`.
        evaluators: name to flow.
        manifest: of the version, whose inputs and outputs are all that live answers bring.
        where: the environment, for messages.

    Raises:
        UsageError: every limit that could never be judged.
    """
    problems = [] if rules.capture_percent or not rules.limits else [_without_consent(where)]
    for name in evaluators_of(rules):
        if name not in evaluators:
            known = ", ".join(map(repr, evaluators)) or "none"
            problems.append(Problem(what=f"no evaluator '{name}'", where=f"{where}: live_scores", expected=known))
        elif manifest.inputs:
            problems += _check_mapping(name, experiment, evaluators[name], manifest)
    if problems:
        raise UsageError(*problems)


def _check_mapping(name: str, experiment: Experiment, flow: Flow, manifest: Manifest) -> Sequence[Problem]:
    inputs = {one: entry.required for one, entry in flow.inputs.items()}
    return check(
        parse_mapping(experiment.evaluators[name].column_mapping),
        inputs=inputs,
        columns=list(manifest.inputs),
        outputs=manifest.outputs or None,
        where=f"live_scores (live answers bring inputs and outputs alone): {name}.column_mapping.{{}}".format,
    )


def _without_consent(where: str) -> Problem:
    return Problem(
        what="limits on live answers, and no answer is kept",
        where=f"{where}: rollout.live_scores",
        expected="capture_percent, which is the consent to keep inputs and outputs of live requests",
    )


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()
