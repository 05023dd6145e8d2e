"""What the driver tells the gateway, as JSON on its standard input; keys travel there and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmops.config.model import Budget, Retries, StandIn
from llmops.core.prices import Price


@dataclass(frozen=True, kw_only=True)
class ModelUse:
    """What one command does with models beyond calling them.

    Attributes:
        budget: over all runs of the command.
        record: recording to add every answer to.
        replay: recording to answer from; no model is called, no key is needed.
        faults: JSON file with rules of `faults.py`, for tests.
        occasion: names a measurement that no earlier answer may stand in for; answers of the same occasion are reused.
            Empty: answers are reused whenever they were given.
    """

    budget: Budget = field(default_factory=Budget)
    record: Path | None = None
    replay: Path | None = None
    faults: Path | None = None
    occasion: str = ""


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """A model service behind the gateway.

    Attributes:
        name: of the connection.
        kind: `open_ai`, `azure_open_ai`, `serverless` or `stand_in`.
        address: what a request's path is appended to; empty for the stand-in, which answers in the gateway.
        key: the real one.
        identity: names what answers; part of the call cache's keys.
        asks_usage: whether a stream may be asked for its token counts: the service is known to understand it.
    """

    name: str
    kind: str
    address: str
    key: str
    identity: str
    asks_usage: bool = False


@dataclass(frozen=True, kw_only=True)
class GatewaySettings:
    """How the gateway works, from its start to its end.

    Attributes:
        admin: token for its own pages.
        store: file of the call cache; empty: no cache.
        record: recording to add to; empty: none.
        replay: recording to answer from, and from nothing else; empty: none.
        faults: rules of `faults.py`, for tests.
    """

    admin: str
    store: str = ""
    record: str = ""
    replay: str = ""
    budget: Budget = field(default_factory=Budget)
    prices: Mapping[str, Price] = field(default_factory=dict)
    retries: Retries = field(default_factory=Retries)
    stand_in: StandIn = field(default_factory=StandIn)
    faults: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, kw_only=True)
class Registration:
    """One run: its token, what it is called in messages, and the services that it may use."""

    token: str
    label: str
    upstreams: Sequence[Upstream]
