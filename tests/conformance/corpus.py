"""The corpus: small flows, each named for the feature that it shows.

A case is a folder of `flows/`: the flow, its `rows.jsonl`, and `case.json` with how it is run (`column_mapping`,
`variants`, `nodes`, `environment_variables`, `init`) and `off`, the switch that takes its feature away from our engine;
the switches are in `switched.py` (worker) and `engine.py` (driver).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FLOWS = Path(__file__).with_name("flows")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One flow of the corpus; see the module."""

    name: str
    off: str
    column_mapping: Mapping[str, Any] = field(default_factory=dict)
    variants: Mapping[str, str] = field(default_factory=dict)
    nodes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    environment_variables: Mapping[str, str] = field(default_factory=dict)
    init: Mapping[str, Any] = field(default_factory=dict)

    @property
    def flow(self) -> str:
        """What runs: the folder, or the prompty file in it."""
        prompty = sorted(path.name for path in (FLOWS / self.name).glob("*.prompty"))
        return "/".join(["flows", self.name, *prompty])

    @property
    def data(self) -> str:
        """The rows: beside the flow, or in its folder `data/`."""
        (path,) = (FLOWS / self.name).glob("**/rows.jsonl")
        return f"flows/{path.relative_to(FLOWS).as_posix()}"


def read_corpus() -> dict[str, Case]:
    """Read every case, by name."""
    files = sorted(FLOWS.glob("*/case.json"))
    return {path.parent.name: Case(name=path.parent.name, **json.loads(path.read_text("utf-8"))) for path in files}
