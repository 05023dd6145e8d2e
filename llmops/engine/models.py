"""How workers reach models: connection values, the stand-in model's process, a check before the first line."""

from __future__ import annotations

import contextlib
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from llmops.config.connections import ResolvedConnection, Secret, expand_variables
from llmops.config.model import StandIn
from llmops.engine.standin.process import StandInProcess
from llmops.errors import BackendError

if TYPE_CHECKING:
    from typing_extensions import Self

REACH_TIMEOUT_S = 10.0
STAND_IN_KEY = "stand-in"
OPENAI_ADDRESS = "https://api.openai.com/v1"


class WorkerConnections(NamedTuple):
    """Connection values for a worker, and which of them are secret."""

    values: Mapping[str, Mapping[str, Any]]
    secrets: Sequence[str]


@dataclass
class ModelServices:
    """The models of one environment; starts the stand-in model when the first line needs it.

    Args:
        settings: of the stand-in model.
        env: environment variables, for references.
    """

    settings: StandIn
    env: Mapping[str, str]
    _stand_in: StandInProcess | None = None
    _reached: frozenset[str] = frozenset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._stand_in is not None:
            self._stand_in.close()
            self._stand_in = None

    def for_worker(self, connections: Mapping[str, ResolvedConnection]) -> WorkerConnections:
        """Return what a worker needs to build each connection."""
        values = {name: self._value(connection) for name, connection in connections.items()}
        secrets = [secret for value in values.values() for secret in value["secrets"].values()]
        return WorkerConnections(values, [secret for secret in secrets if secret != STAND_IN_KEY])

    def expand(self, variables: Mapping[str, str]) -> Mapping[str, str]:
        """Resolve `${env:NAME}` in environment variables for a worker."""
        return expand_variables(variables, self.env)

    def check_reachable(self, connections: Mapping[str, ResolvedConnection]) -> None:
        """Ask each model service for its list of models, once, before the first line.

        Raises:
            BackendError: a service cannot be reached or refuses the key. Any other answer is good enough: not every
                service has the list.
        """
        for name, connection in connections.items():
            address = _models_address(connection)
            if address is None or address in self._reached:
                continue
            _ask(name, address, connection)
            self._reached |= {address}

    def _value(self, connection: ResolvedConnection) -> Mapping[str, Any]:
        if connection.type == "stand_in":
            configs = {"base_url": self._started_stand_in().base_url}
            return {"type": "open_ai", "configs": configs, "secrets": {"api_key": STAND_IN_KEY}}
        fields = ("base_url", "api_base", "api_version", "organization")
        configs = {name: value for name in fields if (value := getattr(connection, name)) is not None}
        return {
            "type": connection.type,
            "configs": {**configs, **connection.configs},
            "secrets": {name: secret.reveal() for name, secret in _secrets(connection).items()},
        }

    def _started_stand_in(self) -> StandInProcess:
        if self._stand_in is None:
            self._stand_in = StandInProcess(latency_ms=self.settings.latency_ms)
        return self._stand_in


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
