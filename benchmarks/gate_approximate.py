"""Measure how often the approximate methods, which promise nothing, are wrong on the limit itself.

`python benchmarks/gate_approximate.py --write docs/statistics.md` puts the table between that page's markers; the
largest rate of each rule is what `llmops.core.rules` shows beside it.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from llmops.core.rules import BOOTSTRAP, SCORE, STUDENT, Rule, p_values  # noqa: E402
from llmops.core.samples import Sample, pairs_sample, proportion_sample, resampled_sample  # noqa: E402
from llmops.core.statistics import tally_of  # noqa: E402

ALPHA = 0.05
PULLS = 4000
BOOTSTRAP_PULLS = 1000
RESAMPLES = 1000
ROWS = (15, 30, 60, 120, 250, 500)
CONFUSION = {
    "macro F1, classes of 5:3:2, 80 % right": ((0.42, 0.05, 0.03), (0.04, 0.23, 0.03), (0.02, 0.03, 0.15)),
    "macro F1, classes of 8:1:1, 90 % right": ((0.76, 0.02, 0.02), (0.02, 0.07, 0.01), (0.02, 0.01, 0.07)),
}
"""Chances of reference (row) and prediction (column)."""


class Rates(NamedTuple):
    """Share of wrong passes and of wrong fails on the limit, in one situation."""

    rule: Rule
    situation: str
    rows: int
    passes: float
    fails: float


def measure() -> Iterator[Rates]:
    """Yield the rates of all situations."""
    for n in ROWS:
        for limit in (0.5, 0.8, 0.95):
            counts = np.random.default_rng(n).binomial(n, limit, PULLS)
            samples = [proportion_sample(int(hits), n - int(hits)) for hits in counts]
            yield _rates(SCORE, f"proportion of {limit:g}", samples, limit)
        for changed in (0.05, 0.1, 0.2, 0.3):
            chances = [(changed - 0.05) / 2, (changed + 0.05) / 2, 1 - changed]
            drawn = np.random.default_rng(n).multinomial(n, chances, PULLS)
            samples = [pairs_sample(*(int(count) for count in counts)) for counts in drawn]
            yield _rates(SCORE, f"pairs, {100 * changed:g} % change, margin 5 points", samples, -0.05)
        rng = np.random.default_rng(n)
        for name, values, mean in (
            ("normal scores", rng.normal(0, 1, (PULLS, n)), 0.0),
            ("exponential scores", rng.exponential(1, (PULLS, n)), 1.0),
            ("log-normal scores", rng.lognormal(0, 1, (PULLS, n)), math.exp(0.5)),
        ):
            yield _rates(STUDENT, name, [_unbounded(row.tolist()) for row in values], mean)

        for name, matrix in CONFUSION.items():
            limit = float(macro_f1(np.array([matrix]))[0])
            yield _rates(BOOTSTRAP, name, _resampled(np.array(matrix), n, rng), limit, rows=n)


def macro_f1(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the macro F1 of confusion matrices as `evaluators.builtin.classification` forms it."""
    right = np.diagonal(counts, axis1=1, axis2=2)
    sizes = counts.sum(axis=1) + counts.sum(axis=2)
    scores = np.divide(2 * right, sizes, out=np.zeros_like(right), where=sizes > 0)
    return np.asarray(scores.sum(axis=1) / np.maximum(1, (sizes > 0).sum(axis=1)))


def _resampled(chances: npt.NDArray[np.float64], n: int, rng: np.random.Generator) -> list[Sample]:
    samples = []
    for counts in rng.multinomial(n, chances.ravel(), BOOTSTRAP_PULLS):
        again = rng.multinomial(n, counts / n, RESAMPLES)
        values, (observed,) = (
            macro_f1(found.reshape(-1, *chances.shape).astype(float)).tolist() for found in (again, counts)
        )
        samples.append(resampled_sample(values, observed, unknown=0))
    return samples


def _unbounded(values: list[float]) -> Sample:
    tally = tally_of(values)
    return Sample(kind="unbounded", low=tally, high=tally, lowest=-math.inf, highest=math.inf)


def _rates(rule: Rule, situation: str, samples: list[Sample], limit: float, rows: int = 0) -> Rates:
    passes = fails = 0
    for sample in samples:
        passing, failing = p_values(rule, sample, limit, at_least=True)
        passes += passing <= ALPHA
        fails += failing <= ALPHA
    return Rates(rule, situation, rows or samples[0].rows, passes / len(samples), fails / len(samples))


def report(found: list[Rates]) -> str:
    """Write the table as Markdown, and the largest rate of each rule."""
    head = (
        f"Wrong answers of the approximate methods on the limit itself, nominal {100 * ALPHA:g} %, {PULLS} draws each "
        f"({BOOTSTRAP_PULLS} of the bootstrap, {RESAMPLES} resamples each)."
    )
    lines = [
        head,
        "",
        "| rule | situation | rows | wrong passes % | wrong fails % |",
        "| --- | --- | --: | --: | --: |",
    ]
    lines += [
        f"| {one.rule.name} | {one.situation} | {one.rows} | {100 * one.passes:.1f} | {100 * one.fails:.1f} |"
        for one in sorted(found, key=lambda one: (one.rule.name, one.situation, one.rows))
    ]
    for rule in (BOOTSTRAP, SCORE, STUDENT):
        worst = max(max(one.passes, one.fails) for one in found if one.rule is rule)
        lines += ["", f"Largest rate of the {rule.name}: {100 * worst:.0f} %."]
    return "\n".join(lines)


def main() -> int:
    """Print the table, or write it into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--write", type=Path, help="a page with the markers <!-- approximate --> and <!-- end approximate -->"
    )
    page = parser.parse_args().write
    text = report(list(measure()))
    print(text)
    if page:
        before, _, rest = page.read_text(encoding="utf-8").partition("<!-- approximate -->\n")
        after = rest.partition("<!-- end approximate -->")[2]
        page.write_text(f"{before}<!-- approximate -->\n{text}\n<!-- end approximate -->{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
