"""Which rows a sequential check asks for next."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from llmops.config.data import read_rows
from llmops.core.evidence import draw_order

GROWTH = 8
"""A batch is at least an eighth of what was drawn before: few starts of workers, little drawn in vain."""


def read_draw_order(data: Path, seed: int) -> list[int]:
    """Return the positions of a data set's rows in the order in which they are drawn.

    The order follows from what the rows are, not from where they stand in the file.
    """
    identities = [json.dumps(row.values, sort_keys=True, ensure_ascii=False, default=str) for row in read_rows(data)]
    return draw_order(identities, seed)


def batches(rows: int, concurrency: int) -> Iterator[int]:
    """Yield how many rows are to be drawn in all, growing to `rows`.

    Args:
        rows: of the data set.
        concurrency: lines in flight at once; no batch is smaller.
    """
    drawn = 0
    while drawn < rows:
        drawn = min(rows, drawn + max(concurrency, drawn // GROWTH))
        yield drawn
