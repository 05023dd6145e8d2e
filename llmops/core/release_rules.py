"""What a user declares of releases: how traffic moves, what stops it, and what an environment asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llmops.core.declare import setting

Strategy = Literal["canary", "blue-green", "immediate"]

_DAY_S = 24 * 60 * 60.0


@dataclass(frozen=True, kw_only=True)
class TrafficStep:
    """One share of the traffic, and how long it is watched."""

    percent: int = setting("Share of the new deployment.", minimum=1, maximum=99)
    bake_s: float = setting("Seconds to watch it before the next step.", default=60.0, minimum=0)


@dataclass(frozen=True, kw_only=True)
class Checks:
    """What live requests must show while a step is watched; any check that fails returns the traffic."""

    max_error_rate: float | None = setting(
        "Largest share of requests that may fail (status 500 and above, or no answer).",
        default=0.01,
        minimum=0,
        maximum=1,
    )
    latency_percentile: int = setting("Percentile that the latency limits mean.", default=95, enum=[50, 95, 99])
    max_latency_s: float | None = setting("Largest latency, seconds.", default=None, exclusiveMinimum=0)
    max_latency_ratio: float | None = setting(
        "Largest latency as a multiple of the old deployment's in the same time; judged from 20 requests each.",
        default=None,
        exclusiveMinimum=0,
    )
    max_wait_s: float = setting(
        "Seconds after which a live request that has no answer yet counts as failed.", default=60.0, exclusiveMinimum=0
    )
    min_requests: int = setting(
        "Requests without which a step is inconclusive, which stops the rollout too.", default=0, minimum=0
    )


@dataclass(frozen=True, kw_only=True)
class ScoreLimit:
    """Limits on one metric over live answers; at least one of them is given."""

    metric: str = setting(
        "evaluator.metric of the experiment; the evaluator may use inputs and outputs only, as live requests bring no "
        "right answer.",
        pattern=r"^[^.]+\.[^\r\n]+$",
    )
    min: float | None = setting("Smallest allowed value.", default=None)
    max: float | None = setting("Largest allowed value.", default=None)
    max_drop: float | None = setting(
        "Largest allowed worsening against the old deployment's answers of the same time, in the metric's unit.",
        default=None,
        minimum=0,
    )


@dataclass(frozen=True, kw_only=True)
class LiveScores:
    """Evaluator scores of live answers; needs consent, because it keeps what users ask."""

    capture_percent: int = setting(
        "Share of live requests whose inputs and outputs are kept, to be scored while a step is watched. Setting it is "
        "the consent to that; it holds for deployments that are made from then on.",
        default=0,
        minimum=0,
        maximum=100,
    )
    limits: Sequence[ScoreLimit] = setting("What the scores must show.", factory=tuple)
    max_answers: int = setting("Answers of each deployment that are scored in one step.", default=50, minimum=1)
    min_answers: int = setting(
        "Answers without which nothing is decided; a comparison needs as many on both sides.", default=20, minimum=1
    )
    required: bool = setting(
        "Whether a step with too few answers is inconclusive, which stops the rollout.", default=False
    )


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """How a new version gets its traffic."""

    strategy: Strategy = setting(
        "canary: in steps; blue-green: all at once after proof, then watched; immediate: all at once, not watched.",
        default="canary",
    )
    steps: Sequence[TrafficStep] = setting(
        "Shares of a canary before 100 %, rising; 10 and 50 when left out.",
        factory=lambda: (TrafficStep(percent=10), TrafficStep(percent=50)),
    )
    bake_s: float = setting("Seconds to watch the new deployment at 100 %.", default=0.0, minimum=0)
    checks: Checks = setting("What live requests must show.", factory=Checks)
    live_scores: LiveScores = setting("What the evaluators must say of live answers.", factory=LiveScores)
    probe_rows: int = setting("Rows that are sent before anything else; 0 sends none.", default=3, minimum=0)
    evaluate: bool = setting(
        "Whether the deployment itself is evaluated, through its own address, before it gets traffic.", default=True
    )
    evaluate_dataset: str = setting("Data set for that; the experiment's when left out.", default="")
    mirror_percent: int = setting(
        "Share of live requests that is copied to the new deployment before it gets any.",
        default=0,
        minimum=0,
        maximum=50,
    )
    mirror_s: float = setting("Seconds of mirroring.", default=0.0, minimum=0)
    healthy_timeout_s: float = setting(
        "Seconds in which a deployment must become healthy.", default=600.0, exclusiveMinimum=0
    )
    rollback_window_s: float = setting(
        "Seconds for which the previous deployment is kept after the new one has all traffic.",
        default=_DAY_S,
        minimum=0,
    )
    keep_failed: bool = setting("Whether the last failed deployment is kept, at 0 %, for diagnosis.", default=True)
    lease_s: float = setting(
        "Seconds after which another driver may take over from one that fell silent.", default=120.0, minimum=10
    )


@dataclass(frozen=True, kw_only=True)
class Requires:
    """What a version must bring along to be deployed here or promoted to here."""

    verdict: bool = setting("Whether a version registered without a verdict is refused.", default=True)
    gates: Sequence[str] = setting("Experiments whose gate must have passed for this very content.", factory=tuple)
    datasets: Sequence[str] = setting(
        "Names of data sets; a verdict over the data as it is now must have passed for each.", factory=tuple
    )
    max_age_s: float | None = setting("Oldest verdict that counts, seconds.", default=None, exclusiveMinimum=0)
    approvals: int = setting("Different people who must have approved a promotion.", default=0, minimum=0)
    min_bake_s: float = setting(
        "Seconds for which the version must have had all traffic where it is promoted from.", default=0.0, minimum=0
    )
