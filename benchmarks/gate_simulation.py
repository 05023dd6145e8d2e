"""Simulate pull requests against the shipped gate and count its wrong answers.

`python benchmarks/gate_simulation.py` runs every cell with 10 000 synthetic pull requests each and prints Markdown
tables; `--write docs/statistics.md` puts them between that page's markers, `--pulls N` and `--cells TEXT` make it
shorter. The gate under test is `llmops.core.gate.judge`; only the drawing of rows is done here.

A cell's true difference is that of the judged metric, failed rows counted as worst. Unmeasured rows hide losses three
times as often as other rows. The limit is `max_regression: 0.05` on each metric, confidence 0.95.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from llmops.core.gate import Evidence, Samples, judge, outcome, question_name  # noqa: E402
from llmops.core.limits import Gate, Threshold  # noqa: E402
from llmops.core.metrics import Metric, Outcome  # noqa: E402
from llmops.core.samples import Sample, pairs_sample, proportion_sample  # noqa: E402
from llmops.core.statistics import clopper_pearson_lower, clopper_pearson_upper, log_capital, tally_of  # noqa: E402
from llmops.core.statistics.betting import SHARES  # noqa: E402

MARGIN = 0.05
ALPHA = 0.05
LEVEL = 0.75
"""Share of right answers among the rows that do not change."""
PULLS = 10_000
SIMULTANEOUS = 0.01
CORRELATION = 0.8
AUDITED = 20
MANY = 20
MOST_LOOKS = 50
MANY_LOOKS_AT = ((15, 0.1, 1), (30, 0.05, 1), (30, 0.1, 5), (30, 0.2, 1), (60, 0.1, 1), (120, 0.1, 1), (250, 0.2, 1))
"""Rows, noise of the judge and metrics where the same rows are measured up to `MOST_LOOKS` times."""
_NEAR = 0.01
MANY_AT = (30, 120)
"""Rows at which twenty metrics are simulated beside the limit; they take most of the time."""

Design = Literal["fixed", "absolute", "repeats", "sequential", "this_dataset"]
Counts = npt.NDArray[np.int64]
Looks = dict[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One situation.

    Attributes:
        n: rows; metrics: how many are gated, each with this difference.
        points: true difference of the judged metric in points of 100; for `absolute` true value less the limit.
        discordance: share of rows whose true label changes; noise: chance that the judge turns a label around.
        failed: chance that a row fails, on each side by itself; unmeasured: chance that a row is not measured.
        looks: looks at the same rows, each with one more repeat (`repeats`); 1 otherwise.
    """

    n: int
    points: float
    discordance: float
    noise: float = 0.0
    metrics: int = 1
    is_correlated: bool = False
    failed: float = 0.0
    unmeasured: float = 0.0
    design: Design = "fixed"
    looks: int = 1

    @property
    def difference(self) -> float:
        """True difference, as a number."""
        return self.points / 100

    @property
    def true_label_points(self) -> float:
        """Difference of the labels that the noisy judge stands for, in points."""
        return self.points / (1 - 2 * self.noise)

    @property
    def is_feasible(self) -> bool:
        """Whether labels exist that change this rarely and differ this much, as judged."""
        true = abs(self.true_label_points) / 100 * (1 + self.failed)
        return true <= self.discordance and not (self.metrics == 1 and self.is_correlated)


class Tally(NamedTuple):
    """What became of a cell's pull requests; rows: rows used on average; peers: share that others let pass."""

    passed: int
    failed: int
    undecided: int
    rows: float
    peers: dict[str, float]

    @property
    def pulls(self) -> int:
        """Pull requests in all."""
        return self.passed + self.failed + self.undecided


class Errors(NamedTuple):
    """A rate of wrong answers with its simultaneous bounds."""

    kind: str
    rate: float
    low: float
    high: float


def list_cells() -> list[Cell]:
    """List all feasible cells."""
    return [cell for cell in dict.fromkeys(_cells()) if cell.is_feasible]


def _cells() -> Iterator[Cell]:
    for place, n in enumerate((15, 30, 60, 120, 250, 500)):
        yield from _fixed_cells(place, n)
        for points in (-10.0, -5.0, 0.0, 5.0, 10.0):
            yield Cell(n=n, points=points, discordance=0.3, design="absolute")
        for points in (-5.0, 0.0):
            yield Cell(n=n, points=points, discordance=0.3, design="absolute", metrics=5, unmeasured=0.02)
    for n in (30, 120, 500):
        yield from _cells_with_faults(n)
        yield from _sequential_cells(n)
    for n, discordance, points, metrics in PLANNED:
        yield Cell(n=n, points=points, discordance=discordance, metrics=metrics, design="sequential")
    for points in (-6.0, -5.0, 0.0):
        for n in (30, 120):
            yield Cell(n=n, points=points, discordance=0.2, noise=0.1, design="repeats", looks=5)
            yield Cell(n=n, points=points, discordance=0.2, design="this_dataset")
    yield from _cells_with_many_looks()


PLANNED = (
    *((260, 0.1, 5.0, 1), (510, 0.2, 5.0, 1), (760, 0.3, 5.0, 1), (510, 0.2, -15.0, 1), (760, 0.3, -15.0, 1)),
    *((970, 0.2, 5.0, 5), (970, 0.2, -15.0, 5)),
)
"""Rows that a fixed design needs to pass an unchanged flow in 80 % of runs (`llmops gate --power`; five metrics pass
together), and truths twice the margin from the limit."""


def _cells_with_many_looks() -> Iterator[Cell]:
    """Yield the cells beside the limit in which the same rows are measured again and again."""
    for points in (-6.0, -5.0):
        for n, noise, metrics in MANY_LOOKS_AT:
            yield Cell(
                n=n, points=points, discordance=0.2, noise=noise, metrics=metrics, design="repeats", looks=MOST_LOOKS
            )


def _fixed_cells(place: int, n: int) -> Iterator[Cell]:
    """Yield the whole range of differences and discordances with one metric; near the limit also noise and more."""
    extras = ((0.05, 1), (0.1, 5), (0.2, 1), (0.1, 1), (0.0, MANY), (0.2, 5))
    for at, points in enumerate((-10.0, -6.0, -5.0, 0.0, 5.0, 10.0)):
        for step, discordance in enumerate((0.05, 0.1, 0.2, 0.3)):
            noise, metrics = extras[(place + at + step) % len(extras)]
            yield Cell(n=n, points=points, discordance=discordance)
            if points in {-10.0, -6.0, -5.0} and (metrics < MANY or n in MANY_AT):
                yield Cell(n=n, points=points, discordance=discordance, noise=noise, metrics=metrics)


def _sequential_cells(n: int) -> Iterator[Cell]:
    for points in (-15.0, -10.0, -6.0, -5.0, 0.0, 5.0, 10.0):
        for discordance in (0.1, 0.2, 0.3):
            yield Cell(n=n, points=points, discordance=discordance, design="sequential")
        yield Cell(n=n, points=points, discordance=0.2, design="sequential", metrics=5)
    for points in (-6.0, -5.0):
        for noise, failed, unmeasured in ((0.1, 0.0, 0.0), (0.0, 0.05, 0.0), (0.0, 0.05, 0.02)):
            yield Cell(
                n=n,
                points=points,
                discordance=0.15,
                noise=noise,
                failed=failed,
                unmeasured=unmeasured,
                design="sequential",
            )


def _cells_with_faults(n: int) -> Iterator[Cell]:
    """Yield the cells beside the limit, where wrong answers are most likely, with rows that fail or get lost."""
    for points in (-6.0, -5.0):
        for metrics, is_correlated in ((1, False), (5, False), (5, True), (MANY, True)):
            for failed, unmeasured in ((0.0, 0.0), (0.05, 0.0), (0.0, 0.02), (0.05, 0.02)):
                if metrics > 1 and bool(failed) != bool(unmeasured):
                    continue
                if metrics == MANY and n not in MANY_AT:
                    continue
                yield Cell(
                    n=n,
                    points=points,
                    discordance=0.15,
                    metrics=metrics,
                    is_correlated=is_correlated,
                    failed=failed,
                    unmeasured=unmeasured,
                )


def observed_chances(cell: Cell) -> tuple[float, float, float]:
    """Return the chances of a judged gain, of a judged loss and of a row right on both sides, no row failing."""
    true = cell.true_label_points / 100 * (1 + cell.failed)
    gain, loss = (cell.discordance + true) / 2, (cell.discordance - true) / 2
    same, e = 1 - gain - loss, cell.noise
    swap = same * e * (1 - e)
    up = gain * (1 - e) ** 2 + loss * e**2 + swap
    down = loss * (1 - e) ** 2 + gain * e**2 + swap
    right = LEVEL * same
    both_right = right * (1 - e) ** 2 + (same - right) * e**2 + (gain + loss) * e * (1 - e)
    return up, down, both_right


KINDS = ("loss", "wrong", "right", "gain", "both_failed", "unknown")


def kind_chances(cell: Cell) -> npt.NDArray[np.float64]:
    """Return the chances of `KINDS`; a failed row is wrong on its side."""
    if cell.design == "absolute":
        seen = np.array([1 - LEVEL - cell.difference, 0, 0, LEVEL + cell.difference])
        both = 0.0
    else:
        up, down, right = observed_chances(cell)
        wrong = 1 - up - down - right
        kept, one = (1 - cell.failed) ** 2, cell.failed * (1 - cell.failed)
        # Either side failed alone: what the other had right is lost or gained, what it had wrong stays wrong.
        lost, gained = down * kept + one * (right + down), up * kept + one * (right + up)
        seen = np.array([lost, wrong * kept + one * (2 * wrong + up + down), right * kept, gained])
        both = cell.failed**2
    hidden = cell.unmeasured * np.array([3, 1, 1, 1])
    return np.array([*(seen * (1 - hidden)), both, float((seen * hidden).sum())])


def draw_counts(cell: Cell, pulls: int, rng: np.random.Generator) -> Counts:
    """Draw pull requests.

    Returns:
        pulls by metrics by `KINDS`: how many rows are of each kind.
    """
    chances = kind_chances(cell)
    if not cell.is_correlated:
        return rng.multinomial(cell.n, chances, size=(pulls, cell.metrics))
    edges = np.array([_probit(float(edge)) for edge in np.cumsum(chances)[:-1]])
    counts = np.empty((pulls, cell.metrics, len(KINDS)), dtype=np.int64)
    for pull in range(pulls):
        shared = math.sqrt(CORRELATION) * rng.standard_normal((cell.n, 1))
        latent = shared + math.sqrt(1 - CORRELATION) * rng.standard_normal((cell.n, cell.metrics))
        kinds = np.searchsorted(edges, latent) + len(KINDS) * np.arange(cell.metrics)
        counts[pull] = np.bincount(kinds.ravel(), minlength=len(KINDS) * cell.metrics).reshape(cell.metrics, -1)
    return counts


def _probit(share: float) -> float:
    return -math.inf if share <= 0 else math.inf if share >= 1 else NormalDist().inv_cdf(share)


@functools.cache
def gate_of(cell: Cell) -> Gate:
    """Build the gate of a cell: the same limit on each metric; failed and unmeasured rows do not decide by number."""
    is_absolute = cell.design == "absolute"
    limits = [
        Threshold(
            metric=f"e.m{index}", min=LEVEL if is_absolute else None, max_regression=None if is_absolute else MARGIN
        )
        for index in range(cell.metrics)
    ]
    return Gate(
        thresholds=limits,
        confidence=1 - ALPHA,
        max_failed=cell.n,
        max_unmeasured=cell.n,
        sequential=cell.design in {"sequential", "this_dataset"},
        add_repeats=cell.design == "repeats",
        target="this_dataset" if cell.design == "this_dataset" else "population",
    )


@functools.cache
def shown_metric(index: int) -> Metric:
    """Return a metric whose displayed numbers decide nothing."""
    return Metric(
        name=f"m{index}", evaluator="e", value=0.5, kind="proportion", n=1, failed=0, unmeasured=0, bounds=(0.0, 1.0)
    )


def ask_gate(gate: Gate, samples: Sequence[Sample], earlier: Looks | None = None) -> Outcome:
    """Ask the shipped gate; `earlier` is updated with the p-values of this look."""
    metrics = {f"e.m{index}": shown_metric(index) for index in range(len(samples))}
    evidence = Evidence(
        metrics=metrics,
        baseline=metrics,
        differences={},
        rows=1,
        failed=0,
        unmeasured=0,
        samples={
            f"e.m{index}": Samples(value=None if sample.is_difference else sample, difference=sample)
            for index, sample in enumerate(samples)
        },
        earlier=dict(earlier or {}),
    )
    findings = judge(gate, evidence, explain=False)
    if earlier is not None:
        for finding in findings:
            if finding.p_pass is not None and finding.p_fail is not None:
                earlier[question_name(finding)] = (finding.p_pass, finding.p_fail)
    return outcome(findings)


def sample_of(cell: Cell, counts: Counts) -> Sample:
    """Build a metric's sample from the counts of `KINDS`."""
    loss, wrong, right, gain, both, unknown = (int(count) for count in counts)
    if cell.design == "absolute":
        return proportion_sample(right + gain, loss + wrong, unknown=unknown)
    return pairs_sample(gain, loss, wrong + right, unknown=unknown, both_failed=both)


def simulate(cell: Cell, pulls: int, seed: int = 0) -> Tally:
    """Judge synthetic pull requests and count the outcomes."""
    rng = np.random.default_rng([seed, *f"{cell}".encode()])
    if cell.design == "repeats":
        return _with_repeats(cell, pulls, rng)
    if cell.design == "sequential":
        return _sequential(cell, pulls, rng)
    if cell.design == "this_dataset":
        return _this_dataset(cell, pulls, rng)
    counts = draw_counts(cell, pulls, rng)
    tally = _fixed(cell, counts)
    return tally._replace(peers=judge_by_peers(cell, counts, rng)) if cell.design == "fixed" else tally


def _fixed(cell: Cell, counts: Counts) -> Tally:
    gate = gate_of(cell)
    distinct, numbers = np.unique(counts.reshape(len(counts), -1), axis=0, return_counts=True)
    tally = {"pass": 0, "fail": 0, "inconclusive": 0}
    for row, number in zip(distinct, numbers, strict=True):
        samples = [sample_of(cell, one) for one in row.reshape(cell.metrics, len(KINDS))]
        tally[ask_gate(gate, samples)] += int(number)
    return Tally(tally["pass"], tally["fail"], tally["inconclusive"], cell.n, {})


def judge_by_peers(cell: Cell, counts: Counts, rng: np.random.Generator) -> dict[str, float]:
    """Return the share of the same pull requests, by their first metric, that the rules of others let pass.

    - mean: the candidate's mean is at least the baseline's less the margin.
    - 2 of 3: the same rule on at least two of three runs over fresh rows.
    - similarity: an answer's similarity to the expected one is 4.2 on average when it is right and 2.4 when it is
      wrong, with deviation 0.8; its mean is at least 3.5.
    - re-run: the rule of the mean, pressed again up to five times until it passes.
    """
    first, chances = counts[:, 0, :], kind_chances(cell)

    def passes_mean(kinds: Counts) -> npt.NDArray[np.bool_]:
        return np.asarray((kinds[:, 3] - kinds[:, 0]) / cell.n >= -MARGIN - 1e-12)

    again = [passes_mean(rng.multinomial(cell.n, chances, size=len(first))) for _ in range(4)]
    passes = passes_mean(first)
    right = first[:, 2] + first[:, 3]
    similarity = (4.2 * right + 2.4 * (cell.n - right)) / cell.n
    similarity = similarity + rng.normal(0, 0.8 / math.sqrt(cell.n), len(first))
    return {
        "mean": float(passes.mean()),
        "2 of 3": float((passes.astype(int) + again[0] + again[1] >= 2).mean()),
        "similarity": float((similarity >= 3.5).mean()),
        "re-run": float((passes | again[0] | again[1] | again[2] | again[3]).mean()),
    }


def _with_repeats(cell: Cell, pulls: int, rng: np.random.Generator) -> Tally:
    """Measure the same rows again for each look, until the gate decides.

    Capital grows only with evidence, so that the gate is asked about the pull requests whose capital ever comes near
    what decides, look by look, and about some of the others.
    """
    totals = draw_totals(cell, pulls, rng)
    near = _come_near(cell, totals)
    tally = {"pass": 0, "fail": 0, "inconclusive": int((~near).sum())}
    used = cell.looks * tally["inconclusive"]
    for pull in np.flatnonzero(near):
        answer, looks = _play(cell, totals[:, pull])
        tally[answer] += 1
        used += looks
    for pull in np.flatnonzero(~near)[:AUDITED]:
        if _play(cell, totals[:, pull]) != ("inconclusive", cell.looks):
            raise AssertionError(f"{cell}: the gate decides about a pull request whose capital is small")
    return Tally(tally["pass"], tally["fail"], tally["inconclusive"], cell.n * used / pulls, {})


def draw_totals(cell: Cell, pulls: int, rng: np.random.Generator) -> npt.NDArray[np.int8]:
    """Measure rows again and again.

    Returns:
        looks by pulls by metrics by rows: the sum of all judged differences up to each look.
    """
    true = cell.true_label_points / 100
    gain, loss = (cell.discordance + true) / 2, (cell.discordance - true) / 2
    same = 1 - gain - loss
    labels = np.array(((True, False), (False, True), (True, True), (False, False)))
    chances = [gain, loss, same * LEVEL, same * (1 - LEVEL)]
    pairs = labels[rng.choice(4, size=(pulls, cell.metrics, cell.n), p=chances)]
    totals = np.empty((cell.looks, pulls, cell.metrics, cell.n), dtype=np.int8)
    running = np.zeros((pulls, cell.metrics, cell.n), dtype=np.int8)
    for look in range(cell.looks):
        seen = (pairs ^ (rng.random(pairs.shape, dtype=np.float32) < cell.noise)).astype(np.int8)
        running += seen[..., 0] - seen[..., 1]
        totals[look] = running
    return totals


def _come_near(cell: Cell, totals: npt.NDArray[np.int8]) -> npt.NDArray[np.bool_]:
    """Mark the pull requests in which some metric's capital ever nearly suffices to fail, or that of all to pass."""
    pulls = totals.shape[1]
    best = np.zeros((2, pulls, cell.metrics))
    for look in range(1, cell.looks + 1):
        width = 2 * look + 1
        places = totals[look - 1].reshape(pulls * cell.metrics, cell.n) + look
        places = places + width * np.arange(len(places), dtype=np.int64)[:, None]
        counts = np.bincount(places.ravel(), minlength=width * pulls * cell.metrics).reshape(pulls, cell.metrics, width)
        values = np.arange(-look, look + 1) / look
        for side, limit in ((0, -MARGIN), (1, MARGIN)):
            gains = np.log1p(np.outer((values if side == 0 else -values) - limit, SHARES) / (limit + 1))
            best[side] = np.maximum(best[side], np.logaddexp.reduce(counts @ gains, axis=-1) - math.log(len(SHARES)))
    passes = (best[0] >= -math.log(ALPHA) - _NEAR).all(axis=1)
    fails = (best[1] >= -math.log(ALPHA / cell.metrics) - _NEAR).any(axis=1)
    return np.asarray(passes | fails)


def _play(cell: Cell, totals: npt.NDArray[np.int8]) -> tuple[Outcome, int]:
    """Ask the gate look by look until it decides; return the outcome and the number of looks."""
    gate, earlier = gate_of(cell), dict[str, tuple[float, float]]()
    for look in range(1, cell.looks + 1):
        answer = ask_gate(gate, [_averaged(total, look) for total in totals[look - 1]], earlier)
        if answer != "inconclusive":
            break
    return answer, look


def _averaged(total: npt.NDArray[np.int8], look: int) -> Sample:
    """Build the sample of differences that were averaged over `look` repeats."""
    values, numbers = np.unique(total, return_counts=True)
    tally = tuple((float(value) / look, int(number)) for value, number in zip(values, numbers, strict=True))
    kind: Literal["binary", "bounded"] = "binary" if look == 1 else "bounded"
    return Sample(kind=kind, low=tally, high=tally, lowest=-1.0, highest=1.0, is_difference=True, look=look)


@functools.cache
def boundary(n: int, alpha: float, *, passes: bool) -> Counts:
    """Return, by rows drawn and losses (or gains, on the failing side), how many of the other kind decide.

    Each entry is found with the shipped `log_capital`, of which the gate's `Bettor` is the running form; the
    decisions that follow are audited with the gate itself.
    """
    limit = -MARGIN if passes else MARGIN
    table = np.full((n + 1, n + 1), n + 1, dtype=np.int64)
    for drawn in range(1, n + 1):
        least = 0
        for against in range(drawn + 1):
            most = drawn - against
            while least <= most and not _is_rich(least, against, drawn, limit, alpha):
                least += 1
            if least > most:
                break
            table[drawn, against] = least
    return table


def _is_rich(gains: int, losses: int, drawn: int, limit: float, alpha: float) -> bool:
    parts = ((-1.0, losses), (0.0, drawn - gains - losses), (1.0, gains))
    tally = tuple((value, count) for value, count in parts if count)
    return float(f"{math.exp(-max(0.0, log_capital(tally, limit, -1.0))):.12g}") <= alpha


def _sequential(cell: Cell, pulls: int, rng: np.random.Generator) -> Tally:
    """Draw row after row and peek after each; stop at the first decision."""
    gains_at = boundary(cell.n, ALPHA, passes=True)
    losses_at = boundary(cell.n, ALPHA / cell.metrics, passes=False)
    never = cell.n + 1
    passed_at, failed_at = np.zeros(pulls, dtype=np.int64), np.full(pulls, never)
    for metric in range(cell.metrics):
        traces = draw_traces(cell, pulls, rng)
        fails_at = np.zeros(pulls, dtype=np.int64)
        # Pairs that failed on both sides are left out, or did not change: the weaker evidence counts.
        for counted in (~traces.is_both, np.ones_like(traces.is_both)):
            drawn = counted.cumsum(axis=1)
            sure = (traces.low > 0).cumsum(axis=1) >= gains_at[drawn, (traces.low < 0).cumsum(axis=1)]
            passed_at = np.maximum(passed_at, _first(sure, never))
            sure = (traces.high < 0).cumsum(axis=1) >= losses_at[drawn, (traces.high > 0).cumsum(axis=1)]
            fails_at = np.maximum(fails_at, _first(sure, never))
        failed_at = np.minimum(failed_at, fails_at)
        if metric == 0 and cell.metrics == 1:
            audit(cell, traces, passed_at, failed_at)
    passes, fails = passed_at < failed_at, failed_at <= np.minimum(passed_at, cell.n)
    stopped = np.minimum(np.minimum(passed_at, failed_at), cell.n)
    return Tally(int(passes.sum()), int(fails.sum()), int((~passes & ~fails).sum()), float(stopped.mean()), {})


class Traces(NamedTuple):
    """Differences of rows in the order in which they are drawn, pulls by rows.

    `low` has the worst imputation of unmeasured rows and `high` the best; `is_both` marks pairs that failed on both
    sides.
    """

    low: npt.NDArray[np.int8]
    high: npt.NDArray[np.int8]
    is_both: npt.NDArray[np.bool_]


def draw_traces(cell: Cell, pulls: int, rng: np.random.Generator) -> Traces:
    """Draw one metric of pull requests, row by row."""
    loss, _, _, gain, both, unknown = kind_chances(cell)
    u = rng.random((pulls, cell.n))
    steps = (u < gain).astype(np.int8) - (u > 1 - loss).astype(np.int8)
    is_unknown = ((u >= gain) & (u < gain + unknown)).astype(np.int8)
    is_both = (u >= gain + unknown) & (u < gain + unknown + both)
    return Traces(steps - is_unknown, steps + is_unknown, is_both)


def _first(hits: npt.NDArray[np.bool_], never: int) -> Counts:
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, never)


def drawn_sample(drawn: Sequence[tuple[float, float] | None], population: int | None = None) -> Sample:
    """Build the sample of differences that were drawn in this order; see `Sample.drawn`."""
    known = [ends for ends in drawn if ends is not None]
    return Sample(
        kind="binary",
        low=tally_of(low for low, _ in known),
        high=tally_of(high for _, high in known),
        lowest=-1.0,
        highest=1.0,
        is_difference=True,
        unknown=sum(low != high for low, high in known),
        both_failed=len(drawn) - len(known),
        drawn=tuple(drawn),
        population=population,
    )


def audit(cell: Cell, traces: Traces, passed_at: Counts, failed_at: Counts) -> None:
    """Check that the shipped gate decides at the very row at which the tables say so, and not one before.

    Raises:
        AssertionError: it does not.
    """
    gate = gate_of(cell)
    for pull in range(AUDITED):
        passing, failing = passed_at[pull], failed_at[pull]
        stop = min(int(min(passing, failing)), cell.n)
        wanted = "pass" if passing < failing else "fail" if failing <= cell.n else "inconclusive"
        found, before = (ask_gate(gate, [_trace_sample(traces, pull, rows)]) for rows in (stop, stop - 1))
        if (before, found) != ("inconclusive", wanted):
            raise AssertionError(f"{cell}: the tables say {wanted} at row {stop}, the gate says {before}, then {found}")


def _trace_sample(traces: Traces, pull: int, rows: int) -> Sample:
    low, high, both = (side[pull, :rows].tolist() for side in traces)
    ends = zip(low, high, both, strict=True)
    return drawn_sample([None if is_both else (float(worst), float(best)) for worst, best, is_both in ends])


def _this_dataset(cell: Cell, pulls: int, rng: np.random.Generator) -> Tally:
    """Draw all rows of one finite data set without replacement; its own difference is the true one."""
    losses = round(cell.n * (cell.discordance - cell.difference) / 2)
    gains = losses + round(cell.n * cell.difference)
    data = np.array([1.0] * gains + [-1.0] * losses + [0.0] * (cell.n - gains - losses))
    tally = {"pass": 0, "fail": 0, "inconclusive": 0}
    used = 0
    for _ in range(pulls):
        steps = [(step, step) for step in rng.permutation(data).tolist()]
        answer, rows = _first_decision(gate_of(cell), steps)
        used += rows
        tally[answer] += 1
    return Tally(tally["pass"], tally["fail"], tally["inconclusive"], used / pulls, {})


def _first_decision(gate: Gate, steps: Sequence[tuple[float, float]]) -> tuple[Outcome, int]:
    """Find the first row at which the gate decides; later looks only add to what earlier ones have shown."""
    n = len(steps)
    if ask_gate(gate, [drawn_sample(steps, n)]) == "inconclusive":
        return "inconclusive", n
    low, high = 0, n
    while high - low > 1:
        middle = (low + high) // 2
        is_decided = ask_gate(gate, [drawn_sample(steps[:middle], n)]) != "inconclusive"
        low, high = (low, middle) if is_decided else (middle, high)
    return ask_gate(gate, [drawn_sample(steps[:high], n)]), high


def true_difference(cell: Cell) -> float:
    """Return the difference that decides which answers are wrong; a finite data set has whole rows."""
    return round(cell.n * cell.difference) / cell.n if cell.design == "this_dataset" else cell.difference


def errors_of(cell: Cell, tally: Tally, cells: int) -> list[Errors]:
    """Return the rates that the gate guarantees in this cell: on the limit itself both."""
    margin = 0.0 if cell.design == "absolute" else -MARGIN
    true, level = true_difference(cell), SIMULTANEOUS / (2 * cells)
    # A data set of which every row was drawn meets a limit that it reaches exactly.
    slack = -1e-12 if cell.design == "this_dataset" else 1e-12
    sides = (("pass", tally.passed, true <= margin + slack), ("fail", tally.failed, true >= margin - 1e-12))
    return [
        Errors(
            kind,
            number / tally.pulls,
            clopper_pearson_lower(number, tally.pulls, level),
            clopper_pearson_upper(number, tally.pulls, level),
        )
        for kind, number, is_wrong in sides
        if is_wrong
    ]


def _job(job: tuple[Cell, int, int]) -> tuple[Cell, Tally]:
    cell, pulls, seed = job
    return cell, simulate(cell, pulls, seed)


def run(cells: Sequence[Cell], pulls: int, seed: int, processes: int, store: Path | None = None) -> dict[Cell, Tally]:
    """Simulate all cells, those with the least work first.

    Args:
        cells: what to simulate.
        pulls: pull requests in each cell.
        seed: cells draw from it independently of each other.
        processes: how many work at once.
        store: JSON Lines of results: cells that are there are not simulated again, new ones are added.
    """
    results = {cell: tally for cell, tally in _stored(store).items() if cell in cells and tally.pulls == pulls}
    missing = sorted((cell for cell in cells if cell not in results), key=_work)
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        for cell, tally in pool.imap_unordered(_job, [(cell, pulls, seed) for cell in missing]):
            results[cell] = tally
            if store:
                with store.open("a", encoding="utf-8") as handle:
                    handle.write(json.dumps([asdict(cell), tally._asdict()]) + "\n")
            print(f"\r{len(results)} of {len(cells)} cells", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {cell: results[cell] for cell in cells}


def _work(cell: Cell) -> tuple[int, int, str]:
    return (
        cell.metrics * (1 + cell.is_correlated) * (20 if cell.design == "this_dataset" else 1),
        cell.n,
        cell.design,
    )


def _stored(store: Path | None) -> dict[Cell, Tally]:
    if store is None or not store.exists():
        return {}
    lines = [json.loads(line) for line in store.read_text(encoding="utf-8").splitlines()]
    return {Cell(**cell): Tally(**tally) for cell, tally in lines}


def report(results: dict[Cell, Tally], pulls: int) -> str:
    """Write the tables as Markdown."""
    found = [(cell, error) for cell, tally in results.items() for error in errors_of(cell, tally, len(results))]
    worst = [max((e for _, e in found if e.kind == kind), key=lambda e: e.rate) for kind in ("pass", "fail")]
    broken = [(cell, error) for cell, error in found if error.low > ALPHA]
    rates = " and ".join(f"a wrong {e.kind} {100 * e.rate:.2f} % (at most {100 * e.high:.2f} %)" for e in worst)
    head = (
        f"{len(results)} cells, {pulls} pull requests each. The largest rates of wrong answers in any cell: {rates}. "
        f"The bounds hold for all cells at once with {100 * (1 - SIMULTANEOUS):g} % confidence. Cells in which a rate "
        f"is shown to exceed {100 * ALPHA:g} %: {len(broken)}."
    )
    lines = [
        head,
        "",
        *(f"- {cell}: {error}" for cell, error in broken),
        *_peer_table(results),
        "",
        *_sequential_table(results),
        "",
        *_cell_table(results),
    ]
    return "\n".join(lines)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _peer_table(results: dict[Cell, Tally]) -> list[str]:
    names = ("mean", "2 of 3", "similarity", "re-run")
    head = ["rows", "points", "discordance %", "noise %", "points of true labels", "ours passes", "ours fails", *names]
    lines = [
        "### Beside the rules of others",
        "",
        (
            "Share of the same pull requests that pass, in percent (one metric, limit: 5 points). `mean`: the mean is "
            "at least the limit; `2 of 3`: in two of three runs; `similarity`: a mean similarity of at least 3.5; "
            "`re-run`: `mean`, pressed again up to five times."
        ),
        "",
        _line(head),
        _line(["--:"] * len(head)),
    ]
    for cell, tally in results.items():
        if tally.peers and cell.metrics == 1 and not (cell.failed or cell.unmeasured) and cell.points <= 0:
            numbers = [str(cell.n), f"{cell.points:g}", f"{100 * cell.discordance:g}", f"{100 * cell.noise:g}"]
            numbers.append(f"{cell.true_label_points:.1f}")
            numbers += [_percent(number / tally.pulls) for number in (tally.passed, tally.failed)]
            lines.append(_line([*numbers, *(_percent(tally.peers[name]) for name in names)]))
    return lines


def _sequential_table(results: dict[Cell, Tally]) -> list[str]:
    head = ["rows", "points", "discordance %", "metrics", "passes %", "fails %", "rows used", "share of the rows %"]
    lines = ["### Sequential evaluation, a peek after every row", "", _line(head), _line(["--:"] * len(head))]
    for cell, tally in results.items():
        if cell.design == "sequential":
            numbers = [str(cell.n), f"{cell.points:g}", f"{100 * cell.discordance:g}", str(cell.metrics)]
            numbers += [_percent(number / tally.pulls) for number in (tally.passed, tally.failed)]
            lines.append(_line([*numbers, f"{tally.rows:.0f}", _percent(tally.rows / cell.n)]))
    return lines


def _cell_table(results: dict[Cell, Tally]) -> list[str]:
    head = ["design", "rows", "points", "true-label points", "discordance %", "noise %", "metrics", "correlated"]
    head += ["failed %", "unmeasured %", "looks", "passes %", "fails %", "inconclusive %"]
    lines = ["<details><summary>Every cell</summary>", "", _line(head), _line(["---"] + ["--:"] * (len(head) - 1))]
    for cell, tally in results.items():
        facts = [cell.design, str(cell.n), f"{cell.points:g}", f"{cell.true_label_points:.1f}"]
        facts += [f"{100 * cell.discordance:g}", f"{100 * cell.noise:g}", str(cell.metrics)]
        facts += ["yes" if cell.is_correlated else "no", f"{100 * cell.failed:g}", f"{100 * cell.unmeasured:g}"]
        facts.append(str(cell.n) if cell.design in {"sequential", "this_dataset"} else str(cell.looks))
        rates = [f"{100 * number / tally.pulls:.2f}" for number in (tally.passed, tally.failed, tally.undecided)]
        lines.append(_line([*facts, *rates]))
    return [*lines, "", "</details>"]


def main() -> int:
    """Run the simulation from the command line; 1 when a guaranteed rate is shown to be broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pulls", type=int, default=PULLS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--cells", default="", help="only cells whose description holds this text")
    parser.add_argument("--write", type=Path, help="a page with the markers <!-- simulation --> and <!-- end -->")
    parser.add_argument("--store", type=Path, help="keep results here and continue from them")
    arguments = parser.parse_args()
    cells = [cell for cell in list_cells() if arguments.cells in f"{cell}"]
    started = time.monotonic()
    results = run(cells, arguments.pulls, arguments.seed, arguments.processes, arguments.store)
    text = report(results, arguments.pulls)
    print(text)
    print(f"{time.monotonic() - started:.0f} s on {arguments.processes} processes", file=sys.stderr)
    if arguments.write:
        before, _, rest = arguments.write.read_text(encoding="utf-8").partition("<!-- simulation -->\n")
        after = rest.partition("<!-- end -->")[2]
        arguments.write.write_text(f"{before}<!-- simulation -->\n{text}\n<!-- end -->{after}", encoding="utf-8")
    return int(any(e.low > ALPHA for cell, tally in results.items() for e in errors_of(cell, tally, len(results))))


if __name__ == "__main__":
    raise SystemExit(main())
