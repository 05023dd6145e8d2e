"""What a scheduled evaluation measures: the flow as it is checked out, and what each environment serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from llmops.backends.registry import Delivery, open_runs
from llmops.commands.baselines import Baseline
from llmops.commands.check import Check, with_past
from llmops.commands.context import Context
from llmops.commands.preparation import Prepared
from llmops.commands.releasing import Release, judge_of
from llmops.commands.targets import Target, Tools, enter_delivery
from llmops.core import gate
from llmops.core.endpoint import Endpoint
from llmops.core.metrics import Metric
from llmops.core.rollout_state import VERDICT
from llmops.core.since_record import Reading, judge_since
from llmops.delivery.lease import retry
from llmops.delivery.package import Package, load_package
from llmops.engine.gateway.settings import ModelUse
from llmops.errors import BackendError, LlmopsError, UsageError
from llmops.evaluators.comparability import require_comparable
from llmops.history.entry import HistoryEntry, Subject, digest_evaluators, entry_id, entry_of
from llmops.records import EvaluationRecord, RunRecord, VerdictRecord, read_record
from llmops.releases import ModelRecord
from llmops.reports.redaction import redact
from llmops.reports.write import write_reports

_ALONE = "a scheduled evaluation of the flow is judged by its own numbers"


@dataclass(frozen=True, kw_only=True)
class Occasion:
    """One scheduled evaluation.

    Attributes:
        name: answers of the same occasion are reused, of any other never.
        output: folder for the reports, one below it for each measurement.
        link: the CI system's run; empty on a laptop.
    """

    name: str
    output: Path
    link: str


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What became of one measurement: a verdict with its reports, or an error; and its line in the history."""

    entry: HistoryEntry
    verdict: VerdictRecord | None = None
    reports: Mapping[str, str]
    error: LlmopsError | None = None


def measure_flow(context: Context, prepared: Prepared, occasion: Occasion) -> Measurement:
    """Run the flow as it is checked out over the data set, and judge it by its own numbers."""

    def decide() -> VerdictRecord:
        use = ModelUse(budget=prepared.experiment.budget, occasion=occasion.name)
        with open_runs(prepared.environment, prepared.project.state, context.env, context.say, use) as runs:
            baseline = Baseline(source=None, reason=_ALONE)
            verdict = Check(context=context, prepared=prepared, baseline=baseline, runs=runs).decide()
        return with_past(verdict, prepared.project)

    return _conclude(context, prepared, "flow", occasion, decide)


@dataclass(frozen=True, kw_only=True)
class Served:
    """What an endpoint serves: the versions that have traffic, and the package of the one that has most of it."""

    endpoint: Endpoint
    versions: Sequence[str]
    model: ModelRecord
    package: Package
    verdict: str


def measure_endpoint(
    context: Context,
    tools: Tools,
    target: Target,
    prepared: Prepared,
    occasion: Occasion,
    history: Callable[[], Sequence[HistoryEntry]],
) -> Measurement | None:
    """Send the data set to the endpoint's own address, as its users do, and judge the answers.

    Args:
        history: reads what was recorded before; asked when the version's own record cannot be compared with.

    Returns:
        None when nothing serves there.
    """
    with ExitStack() as stack:
        try:
            delivery = enter_delivery(stack, context, tools, target)
            served = find_served(delivery, tools, target)
        except LlmopsError as error:
            return _failed(prepared, "endpoint", occasion, error)
        if served is None:
            return None

        def decide() -> VerdictRecord:
            release = Release(context=context, tools=tools, target=target, delivery=delivery)
            use = ModelUse(budget=prepared.experiment.budget, occasion=occasion.name)
            judge = judge_of(release, served.package, prepared, stack, use)
            probed = judge.probe(None, 1)
            if probed.exit_code == BackendError.exit_code:
                raise _silent(target, probed.sentence)
            run = judge.ask(None, _Tick(context, prepared), occasion=occasion.name)
            context.progress.close()
            if run.unmeasured == run.lines:
                raise _silent(target, f"none of {run.lines} requests")
            verdict = judge.judge(run, keep=lambda: None)
            return _with_record(verdict, prepared, _find_record(prepared, served, run), served, history)

        return _conclude(context, prepared, "endpoint", occasion, decide, version=", ".join(served.versions))


def find_served(delivery: Delivery, tools: Tools, target: Target) -> Served | None:
    """Look at an endpoint; None when nothing serves there.

    Raises:
        UsageError: what serves is not what is registered, or its package is damaged.
        BackendError: the backend refused.
    """
    observed = retry(lambda: delivery.endpoints.observe(target.endpoint), tools.clock)
    if observed is None or not observed.traffic:
        return None
    ranked = sorted(observed.traffic, key=lambda name: -observed.traffic[name])
    deployments = [observed.deployments[name] for name in ranked if name in observed.deployments]
    if not deployments:
        raise BackendError.of("the traffic goes to no deployment", where=target.endpoint)
    first = deployments[0]
    model = retry(lambda: delivery.registry.find(target.experiment.name, first.version), tools.clock)
    if model is None or model.digest != first.digest:
        raise UsageError.of(
            "what serves is not what is registered",
            where=f"{target.endpoint}/{first.name}",
            found=first.digest,
            expected=f"{model.digest}, version {model.version}" if model else f"a version {first.version}",
        )
    package = retry(lambda: load_package(delivery.registry, model), tools.clock)
    return Served(
        endpoint=observed,
        versions=list(dict.fromkeys(one.version for one in deployments)),
        model=model,
        package=package,
        verdict=first.tags.get(VERDICT, ""),
    )


def _find_record(prepared: Prepared, served: Served, run: RunRecord) -> EvaluationRecord | None:
    """Find what was recorded of the version over these very rows: of its deployment, else of its registration."""
    local = prepared.project.state / "verdicts" / f"{served.verdict}.json"
    found = [read_record(local, VerdictRecord)] if served.verdict and local.exists() else []
    found += [one for one in reversed(served.package.verdicts) if one.experiment == prepared.experiment.name]
    records = (one.candidate for one in found)
    return next((one for one in records if one.run.dataset.digest == run.dataset.digest), None)


def _with_record(
    verdict: VerdictRecord,
    prepared: Prepared,
    record: EvaluationRecord | None,
    served: Served,
    history: Callable[[], Sequence[HistoryEntry]],
) -> VerdictRecord:
    """Compare with what was recorded of the deployed version, where the same evaluators judged the same rows."""
    called = f"version {served.model.version} as it was recorded"
    if record is not None and _is_comparable(verdict.candidate, record):
        flow = replace(record.run.flow, ref=called)
        baseline = replace(record, run=replace(record.run, flow=flow))
        known = {f"{metric.evaluator}.{metric.name}": metric for metric in record.metrics}
        judged = _judged(verdict, prepared, lambda name: _reading(gate.find_metric(name, known)), called)
        return replace(judged, baseline=baseline, baseline_reason=called, compares_rows=False)
    first = _first_entry(verdict, history())
    if first is None:
        note = "there is no record of this version over these rows, by these evaluators; this is the first one"
        return replace(verdict, notes=[*verdict.notes, note])
    called = f"the first scheduled evaluation of this version, {first.at[:10]}"
    judged = _judged(verdict, prepared, lambda name: _reading_of(name, first), called)
    return replace(judged, notes=[*verdict.notes, f"compared with {called}"])


def _judged(
    verdict: VerdictRecord, prepared: Prepared, find: Callable[[str], Reading | None], called: str
) -> VerdictRecord:
    now = {f"{metric.evaluator}.{metric.name}": metric for metric in verdict.candidate.metrics}
    limits = prepared.experiment.gate
    findings = [
        judge_since(limits, finding, gate.find_metric(finding.metric, now), find, called=called)
        for finding in verdict.findings
    ]
    code = int(gate.exit_code(findings))
    return replace(verdict, findings=findings, outcome=gate.outcome(findings), exit_code=code)


def _is_comparable(now: EvaluationRecord, then: EvaluationRecord) -> bool:
    try:
        require_comparable(now, then)
    except UsageError:
        return False
    return True


def _first_entry(verdict: VerdictRecord, history: Sequence[HistoryEntry]) -> HistoryEntry | None:
    run = verdict.candidate.run
    wanted = ("endpoint", verdict.experiment, verdict.environment, run.flow.digest, run.dataset.digest)
    scored_by = digest_evaluators(verdict.candidate)
    for entry in history:
        found = (entry.subject, entry.experiment, entry.environment, entry.flow, entry.dataset.digest)
        if found == wanted and entry.outcome != "error" and dict(entry.evaluators) == dict(scored_by):
            return entry
    return None


def _reading(metric: Metric | None) -> Reading | None:
    return None if metric is None or metric.value is None else Reading(metric.value, metric.interval)


def _reading_of(name: str, entry: HistoryEntry) -> Reading | None:
    found = [one for one in entry.metrics if name in (one.name, f"{one.evaluator}.{one.name}")]
    value = found[0].value if len(found) == 1 else None
    return None if value is None else Reading(value, found[0].interval)


def _conclude(
    context: Context,
    prepared: Prepared,
    subject: Subject,
    occasion: Occasion,
    decide: Callable[[], VerdictRecord],
    *,
    version: str = "",
) -> Measurement:
    try:
        verdict = decide()
        if prepared.experiment.redact:
            verdict = redact(verdict)
        place = f"{subject}-{prepared.dataset.name}"
        folder = occasion.output / verdict.experiment / verdict.environment / place
        reports = {kind: str(path) for kind, path in write_reports(verdict, folder).items()}
    except LlmopsError as error:
        return _failed(prepared, subject, occasion, error, version=version)
    finally:
        context.progress.close()
    entry = entry_of(verdict, subject, occasion=occasion.name, version=version, link=occasion.link)
    return Measurement(entry=entry, verdict=verdict, reports=reports)


def _failed(
    prepared: Prepared, subject: Subject, occasion: Occasion, error: LlmopsError, *, version: str = ""
) -> Measurement:
    experiment, environment = prepared.experiment.name, prepared.environment.name
    entry = HistoryEntry(
        id=entry_id(experiment, environment, subject, prepared.dataset.name, occasion.name),
        at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        experiment=experiment,
        environment=environment,
        subject=subject,
        dataset=prepared.dataset,
        outcome="error",
        exit_code=int(error.exit_code),
        version=version,
        link=occasion.link,
        error=error.problems[0].what[:200] if error.problems else type(error).__name__,
    )
    return Measurement(entry=entry, reports={}, error=error)


def _silent(target: Target, found: str) -> BackendError:
    return BackendError.of(
        "the endpoint answers nobody",
        where=target.endpoint,
        found=found,
        fix=f"Run: llmops status {target.experiment.name} --environment {target.environment.name}",
    )


class _Tick:
    """Counts answers for the progress."""

    def __init__(self, context: Context, prepared: Prepared) -> None:
        self._context = context
        self._total = prepared.dataset.rows * prepared.experiment.repeat
        self._done = 0

    def __call__(self) -> None:
        self._done += 1
        self._context.progress.update("endpoint", done=self._done, total=self._total)
