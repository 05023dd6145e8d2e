"""How workers reach models: through the model gateway; and a check before the first line."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from llmops.config.connections import ResolvedConnection, Secret, expand_variables, identity
from llmops.config.model import Environment
from llmops.engine.gateway.faults import read_faults
from llmops.engine.gateway.process import Account, GatewayProcess
from llmops.engine.gateway.recording import read_recording
from llmops.engine.gateway.settings import GatewaySettings, ModelUse, Upstream
from llmops.engine.gateway.store import CallStore
from llmops.engine.sqlite_file import say_nothing
from llmops.errors import BackendError, UsageError

if TYPE_CHECKING:
    from typing_extensions import Self

REACH_TIMEOUT_S = 10.0
STAND_IN_KEY = "stand-in"
OPENAI_ADDRESS = "https://api.openai.com/v1"
CALLS = "model-calls.sqlite"
"""Name of the call cache below `.llmops/`."""

_MODEL_KINDS = {"open_ai", "azure_open_ai", "serverless", "stand_in"}
_FIELDS = ("base_url", "api_base", "api_version", "organization")


class WorkerConnections(NamedTuple):
    """What a worker is told of its connections.

    Attributes:
        values: by name.
        secrets: what must not appear in a log or a message.
        withheld: keys that the worker must not have, not even in an environment variable.
        account: what its model calls are booked to; None when it has no model.
    """

    values: Mapping[str, Mapping[str, Any]]
    secrets: Sequence[str]
    withheld: Sequence[str]
    account: Account | None


@dataclass
class ModelServices:
    """The models of one environment; starts the gateway when the first worker needs it.

    Args:
        environment: its stand-in model, prices and retries hold.
        env: environment variables, for references.
        state: the project's `.llmops/` folder, which holds the call cache.
        use: budget, recordings, faults.
        say: takes a sentence for people.

    Raises:
        UsageError: the recording to replay or the faults cannot be read.
    """

    environment: Environment
    env: Mapping[str, str]
    state: Path
    use: ModelUse = field(default_factory=ModelUse)
    say: Callable[[str], None] = say_nothing
    _gateway: GatewayProcess | None = None
    _reached: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.use.record and self.use.replay:
            raise UsageError.of("a run is either recorded or replayed", found="--record and --replay")
        if self.use.replay:
            read_recording(self.use.replay)
        read_faults(self._faults)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._gateway is not None:
            self._gateway.close()
            self._gateway = None

    @property
    def runs_again(self) -> bool:
        """Whether lines that are in the cache are run all the same: a recording must have all calls."""
        return self.use.record is not None

    @cached_property
    def peculiarity(self) -> str:
        """What sets answers apart from those that the models would give now: part of a line's identity."""
        if self.use.replay:
            return f"replay sha256:{hashlib.sha256(self.use.replay.read_bytes()).hexdigest()}"
        if self.use.occasion:
            return f"occasion {self.use.occasion}"
        return f"faults sha256:{hashlib.sha256(json.dumps(self._faults).encode()).hexdigest()}" if self._faults else ""

    @property
    def prices_as_of(self) -> str:
        """The day of the oldest price; empty when there is none."""
        return min((price.as_of for price in self.environment.prices.values()), default="")

    @cached_property
    def _faults(self) -> Sequence[Mapping[str, Any]]:
        if self.use.faults is None:
            return ()
        try:
            rules = json.loads(self.use.faults.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError.of("the faults cannot be read", where=str(self.use.faults), found=str(error)) from error
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            raise UsageError.of("no faults", where=str(self.use.faults), expected="a JSON array of rules")
        return rules

    def for_worker(self, label: str, connections: Mapping[str, ResolvedConnection]) -> WorkerConnections:
        """Return what a worker needs to build each connection: models are reached through the gateway.

        The real keys of models are not in it; those of custom connections are.

        Args:
            label: of the run.
            connections: by name.
        """
        occasion = self.use.occasion
        upstreams = {name: _upstream(one, occasion) for name, one in connections.items() if one.type in _MODEL_KINDS}
        gateway = self._started_gateway() if upstreams else None
        account = gateway.open_account(label, list(upstreams.values())) if gateway else None
        values = dict(direct_values({name: one for name, one in connections.items() if name not in upstreams}))
        if gateway and account:
            for name, upstream in upstreams.items():
                address = gateway.address(account, upstream)
                values[name] = _through_gateway(connections[name], address, account.token)
        hidden = [secret for value in values.values() for secret in value["secrets"].values()]
        withheld = [upstream.key for upstream in upstreams.values() if upstream.key != STAND_IN_KEY]
        return WorkerConnections(values, [*hidden, *withheld], withheld, account)

    def expand(self, variables: Mapping[str, str]) -> Mapping[str, str]:
        """Resolve `${env:NAME}` in environment variables for a worker."""
        return expand_variables(variables, self.env)

    def check_reachable(self, connections: Mapping[str, ResolvedConnection]) -> None:
        """Ask each model service for its list of models, once, before the first line; a replay asks nobody.

        Raises:
            BackendError: a service cannot be reached or refuses the key. Any other answer is good enough: not every
                service has the list.
        """
        for name, connection in connections.items():
            address = _models_address(connection)
            if address is None or address in self._reached or self.use.replay:
                continue
            _ask(name, address, connection)
            self._reached |= {address}

    def _started_gateway(self) -> GatewayProcess:
        if self._gateway is None:
            CallStore(self.state / CALLS, self.say).close()  # the gateway itself has no one to tell of damage
            self._gateway = GatewayProcess(
                GatewaySettings(
                    admin=secrets.token_hex(16),
                    store=str(self.state / CALLS),
                    record=_absolute(self.use.record),
                    replay=_absolute(self.use.replay),
                    budget=self.use.budget,
                    prices=self.environment.prices,
                    retries=self.environment.retries,
                    stand_in=self.environment.stand_in,
                    faults=self._faults,
                )
            )
        return self._gateway


def _absolute(path: Path | None) -> str:
    return str(path.resolve()) if path else ""


def direct_values(connections: Mapping[str, ResolvedConnection]) -> Mapping[str, Mapping[str, Any]]:
    """Return the values of connections as they are, secrets included: for what serves, and for custom connections."""
    return {name: _direct_value(connection) for name, connection in connections.items()}


def _direct_value(connection: ResolvedConnection) -> Mapping[str, Any]:
    if connection.type == "workspace":
        raise UsageError.of(
            "a connection that is kept in an Azure Machine Learning workspace",
            where=f"connection '{connection.name}'",
            expected="a connection with an address and a key, because the flow runs on this machine",
        )
    configs = {name: value for name in _FIELDS if (value := getattr(connection, name)) is not None}
    return {
        "type": connection.type,
        "configs": {**configs, **connection.configs},
        "secrets": {name: secret.reveal() for name, secret in _secrets(connection).items()},
    }


def _through_gateway(connection: ResolvedConnection, address: str, token: str) -> Mapping[str, Any]:
    field_name = "base_url" if connection.type in {"open_ai", "stand_in"} else "api_base"
    configs = {name: value for name in _FIELDS if (value := getattr(connection, name)) is not None}
    return {
        "type": "open_ai" if connection.type == "stand_in" else connection.type,
        "configs": {**configs, field_name: address},
        "secrets": {"api_key": token},
    }


def _upstream(connection: ResolvedConnection, occasion: str) -> Upstream:
    address = _address(connection)
    return Upstream(
        name=connection.name,
        kind=connection.type,
        address=address,
        key=connection.api_key.reveal() if connection.api_key else STAND_IN_KEY,
        identity=f"{identity(connection)} at {occasion}" if occasion else identity(connection),
        asks_usage=connection.type == "stand_in" or urlsplit(address).hostname == urlsplit(OPENAI_ADDRESS).hostname,
    )


def _address(connection: ResolvedConnection) -> str:
    """Return what the paths of a worker's requests are appended to; empty for the stand-in model."""
    if connection.type == "stand_in":
        return ""
    if connection.type == "open_ai":
        return (connection.base_url or OPENAI_ADDRESS).rstrip("/")
    address = (connection.api_base or "").rstrip("/")
    # promptflow-tools appends /v1 to a serverless connection's address that does not have it.
    return address.removesuffix("/v1") if connection.type == "serverless" else address


def secret_values(connections: Mapping[str, ResolvedConnection]) -> set[str]:
    """Return the values that are nobody's but the connections'."""
    return {secret.reveal() for connection in connections.values() for secret in _secrets(connection).values()}


def _secrets(connection: ResolvedConnection) -> Mapping[str, Secret]:
    own = {"api_key": connection.api_key} if connection.api_key else {}
    return {**own, **connection.secrets}


def _models_address(connection: ResolvedConnection) -> str | None:
    if connection.type == "open_ai":
        return (connection.base_url or OPENAI_ADDRESS).rstrip("/") + "/models"
    if connection.type == "azure_open_ai":
        return f"{connection.api_base}".rstrip("/") + f"/openai/models?api-version={connection.api_version}"
    return None


def _ask(name: str, address: str, connection: ResolvedConnection) -> None:
    key = connection.api_key.reveal() if connection.api_key else ""
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {key}", "api-key": key})
    place = f"connection {name!r}"
    try:
        with contextlib.closing(urllib.request.urlopen(request, timeout=REACH_TIMEOUT_S)):
            return
    except urllib.error.HTTPError as error:
        if error.code not in {401, 403}:
            return
        raise BackendError.of(
            "the model service refuses the key",
            where=place,
            found=f"HTTP {error.code} from {address}",
            fix="Check the key that the connection refers to, and that it belongs to this address.",
        ) from error
    except (OSError, ValueError) as error:
        raise BackendError.of(
            "the model service cannot be reached",
            where=place,
            found=f"{address}: {getattr(error, 'reason', error)}",
            fix="Check the address and the network, or use the stand-in model (type: stand_in).",
        ) from error
