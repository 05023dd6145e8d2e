"""How well a judge agrees with people: kappa over labelled rows, and with itself over repeats."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any, Literal, NamedTuple

from llmops.core.aggregate import as_number
from llmops.evaluators.builtin.text import normalize

Weights = Literal["nominal", "linear", "quadratic"]
Table = Mapping[tuple[str, str], float]
"""Label by people and label by the judge, to the number of rows; repeats of a row share one."""

Z95 = 1.959963984540054
"""Quantile of the normal distribution that 95 % intervals reach to."""


class Agreement:
    """Compare each label of a judge with that of people, then report agreement beyond chance.

    Args:
        weights: nominal: labels are equal or not. linear, quadratic: labels are numbers, and a near miss counts less
            than a wide one: by its distance, or by the square of it.
        ignore_case: of labels that are texts.

    Raises:
        ValueError: a label that is no number, where they must be.
    """

    def __init__(self, *, weights: Weights = "nominal", ignore_case: bool = True) -> None:
        if weights not in {"nominal", "linear", "quadratic"}:
            raise ValueError(f"weights: {weights!r}, expected nominal, linear or quadratic")
        self._weights: Weights = weights
        self._ignore_case = ignore_case

    def __call__(self, prediction: Any, reference: Any, row: int) -> dict[str, Any]:
        judged, wanted = self._label(prediction), self._label(reference)
        return {"agrees": int(judged == wanted), "judge": judged, "people": wanted, "row": f"row {row}"}

    def _label(self, value: Any) -> str:
        if self._weights == "nominal":
            return normalize(value, ignore_case=self._ignore_case)
        number = as_number(value)
        if number is None:
            try:
                number = float(str(value))
            except ValueError:
                raise ValueError(f"{value!r} is no number, which {self._weights} weights need") from None
        return f"{number:g}"

    def __aggregate__(self, lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return the metrics over all lines; none for no lines.

        `kappa` is absent where it is not defined: when all labels, of people and of the judge, are one and the same.
        Its interval is the jackknife's over rows, so repeats of one row do not count as more evidence. `repeats_agree`
        is the share of pairs of repeats of a row that got one label; absent without repeats.
        """
        if not lines:
            return {}
        rows = _by_row(lines)
        distance = _DISTANCES[self._weights]
        metrics = {"agreement": sum(line["agrees"] for line in lines) / len(lines)}
        kappa = _kappa(_table(rows), distance)
        if kappa is not None:
            low, high = _interval(rows, distance, kappa)
            metrics |= {"kappa": kappa, "kappa.low": low, "kappa.high": high}
        pairs = [first == second for row in rows for first, second in combinations(row.judged, 2)]
        if pairs:
            metrics["repeats_agree"] = sum(pairs) / len(pairs)
        counts = Counter((line["people"], line["judge"]) for line in lines)
        return metrics | {f"confusion.{wanted}.{judged}": count for (wanted, judged), count in sorted(counts.items())}


class _Row(NamedTuple):
    """One labelled row: what people say of it, and what each measurement of the judge says."""

    people: str
    judged: Sequence[str]


def _by_row(lines: Sequence[Mapping[str, Any]]) -> list[_Row]:
    rows: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for line in lines:
        rows[line["row"]].append(line)
    return [_Row(group[0]["people"], [line["judge"] for line in group]) for group in rows.values()]


def _table(rows: Sequence[_Row]) -> Table:
    table: dict[tuple[str, str], float] = defaultdict(float)
    for row in rows:
        for judged in row.judged:
            table[row.people, judged] += 1 / len(row.judged)
    return table


def _kappa(table: Table, distance: Callable[[str, str], float]) -> float | None:
    """Return Cohen's kappa: 1 minus the observed disagreement over that which chance would bring.

    Sources: Cohen (1960), A coefficient of agreement for nominal scales; Cohen (1968), Weighted kappa.
    """
    total = math.fsum(table.values())
    people: dict[str, float] = defaultdict(float)
    judge: dict[str, float] = defaultdict(float)
    for (wanted, judged), share in table.items():
        people[wanted] += share
        judge[judged] += share
    observed = math.fsum(share * distance(*pair) for pair, share in table.items()) / total
    by_chance = math.fsum(
        share * other * distance(wanted, judged) for wanted, share in people.items() for judged, other in judge.items()
    )
    return 1 - observed * total**2 / by_chance if by_chance > 0 else None


def _interval(rows: Sequence[_Row], distance: Callable[[str, str], float], kappa: float) -> tuple[float, float]:
    """Return the 95 % interval of the jackknife; -1 to 1 where the rows do not determine one.

    Source: Efron and Stein (1981), The jackknife estimate of variance.
    """
    table = _table(rows)
    known: dict[tuple[str, tuple[str, ...]], float | None] = {}
    left_out = []
    for row in rows:
        kind = (row.people, tuple(sorted(row.judged)))
        if kind not in known:
            known[kind] = _kappa(_without(table, row), distance) if len(rows) > 1 else None
        left_out.append(known[kind])
    values = [value for value in left_out if value is not None]
    if len(values) < len(rows) or len(rows) < 3:
        return -1.0, 1.0
    mean = math.fsum(values) / len(values)
    variance = (len(values) - 1) / len(values) * math.fsum((value - mean) ** 2 for value in values)
    reach = Z95 * math.sqrt(variance)
    return max(-1.0, kappa - reach), min(1.0, kappa + reach)


def _without(table: Table, row: _Row) -> Table:
    less = dict(table)
    for judged in row.judged:
        less[row.people, judged] -= 1 / len(row.judged)
    return {pair: share for pair, share in less.items() if share > 1e-12}


_DISTANCES: Mapping[Weights, Callable[[str, str], float]] = {
    "nominal": lambda one, other: float(one != other),
    "linear": lambda one, other: abs(float(one) - float(other)),
    "quadratic": lambda one, other: (float(one) - float(other)) ** 2,
}
