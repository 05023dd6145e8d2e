"""What a run's record says of its lines."""

from __future__ import annotations

import hashlib
import json
from array import array

from llmops.records import Line


class LineCounts:
    """What the record says of the lines, gathered while they are written."""

    def __init__(self) -> None:
        self.completed = self.failed = self.unmeasured = 0
        self.tokens: dict[str, int] = {}
        self.misses: list[str] = []
        self.stand_in = False
        self.durations_s = array("d")
        self._usd = 0.0
        self._priced = self._unpriced = 0
        self._hash = hashlib.sha256()

    def add(self, line: Line) -> None:
        """Count the next line, in order."""
        setattr(self, line.status, getattr(self, line.status) + 1)
        for name, number in line.tokens.items():
            self.tokens[name] = self.tokens.get(name, 0) + number
        if line.status != "unmeasured":
            self.durations_s.append(line.duration_s)
        self.stand_in = self.stand_in or line.stand_in
        self._usd += line.cost_usd or 0.0
        self._priced += line.cost_usd is not None
        self._unpriced += line.cost_usd is None and bool(line.tokens)
        if line.error is not None and line.error.type == "ReplayMiss":
            self.misses.append(f"row {line.row}: {line.error.message}")
        body = [line.row, line.repeat, line.status, line.inputs, line.outputs]
        self._hash.update(json.dumps(body, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")

    @property
    def total(self) -> int:
        """Lines so far."""
        return self.completed + self.failed + self.unmeasured

    @property
    def cost_usd(self) -> float | None:
        """What they cost; None when that is not known of one with tokens."""
        return round(self._usd, 8) if self._priced and not self._unpriced else None

    @property
    def digest(self) -> str:
        """Digest of all lines so far."""
        return f"sha256:{self._hash.hexdigest()}"
