"""Backend name to implementation: adding a backend adds one line here."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from llmops.backends.protocols import Endpoints, Finding, Registry, RunRequest, Runs, Trial
from llmops.config.model import Environment
from llmops.engine.gateway.settings import ModelUse
from llmops.errors import UsageError, near_match

OpenRuns = Callable[
    [Environment, Path, Mapping[str, str], Callable[[str], None], ModelUse], contextlib.AbstractContextManager[Runs]
]


OpenTrial = Callable[[RunRequest, Path], contextlib.AbstractAsyncContextManager[Trial]]
"""Loads the flow of a request; the file takes what it prints."""
OpenTrials = Callable[
    [Environment, Path, Mapping[str, str], Callable[[str], None]], contextlib.AbstractContextManager[OpenTrial]
]


FetchData = Callable[[Environment, Path, Mapping[str, str], str], Path]


class Delivery(NamedTuple):
    """Where an environment's versions are kept and where they serve."""

    registry: Registry
    endpoints: Endpoints


OpenDelivery = Callable[
    [Environment, Path, Mapping[str, str], Callable[[str], None]], contextlib.AbstractContextManager[Delivery]
]


@contextlib.contextmanager
def _open_local(
    environment: Environment, state: Path, env: Mapping[str, str], say: Callable[[str], None], use: ModelUse
) -> Iterator[Runs]:
    from llmops.backends.local.runs import LocalRuns
    from llmops.engine.cache import LineCache
    from llmops.engine.models import ModelServices

    with (
        contextlib.closing(LineCache(state / "cache.sqlite", say)) as cache,
        ModelServices(environment, env, state, use, say) as services,
        contextlib.closing(LocalRuns(state, cache, services)) as runs,
    ):
        yield runs


@contextlib.contextmanager
def _open_local_trials(
    environment: Environment, state: Path, env: Mapping[str, str], say: Callable[[str], None]
) -> Iterator[OpenTrial]:
    from llmops.backends.local.trial import open_trial
    from llmops.engine.models import ModelServices

    with ModelServices(environment, env, state, say=say) as services:
        yield lambda request, log: open_trial(request, state, services, log)


@contextlib.contextmanager
def _open_local_delivery(
    environment: Environment, state: Path, env: Mapping[str, str], say: Callable[[str], None]
) -> Iterator[Delivery]:
    from llmops.backends.local.endpoints import LocalEndpoints
    from llmops.backends.local.registry import LocalRegistry

    del say
    yield Delivery(LocalRegistry(state / "registry"), LocalEndpoints(state / "endpoints", environment, env))


@contextlib.contextmanager
def _open_azure(
    environment: Environment, state: Path, env: Mapping[str, str], say: Callable[[str], None], use: ModelUse
) -> Iterator[Runs]:
    from llmops.backends.azure.runs import AzureRuns

    if use.record or use.replay or use.faults:
        raise UsageError.of(
            "models are not called through this machine",
            where=f"environment '{environment.name}'",
            found="--record, --replay or --faults",
            fix="Leave it out, or name an environment of the backend local.",
        )
    has_budget = use.budget.usd is not None or use.budget.tokens is not None
    if has_budget and environment.azure.runs.compute != "job":
        say("The budget is not enforced: flows that run in the workspace reach their models from there.")
    open_here = partial(_open_local, environment, state, env, say, ModelUse(occasion=use.occasion))
    yield AzureRuns(environment, state, env, say, open_here, use=use)


@contextlib.contextmanager
def _open_azure_delivery(
    environment: Environment, state: Path, env: Mapping[str, str], say: Callable[[str], None]
) -> Iterator[Delivery]:
    from llmops.backends.azure.delivery import open_azure_delivery

    del say
    with open_azure_delivery(environment, state, env) as opened:
        yield Delivery(*opened)


_TRIALS: Mapping[str, OpenTrials] = {"local": _open_local_trials, "azure": _open_local_trials}
"""One input is always tried on this machine, also with the connections of an environment elsewhere."""


def _fetch_from_azure(environment: Environment, state: Path, env: Mapping[str, str], address: str) -> Path:
    from llmops.backends.azure.registered_data import fetch
    from llmops.backends.azure.session import open_session

    return fetch(open_session(environment, state, env), state, address)


def _inspect_azure(environment: Environment, state: Path, env: Mapping[str, str]) -> Iterator[Finding]:
    from llmops.backends.azure.inspection import inspect

    return inspect(environment, state, env)


Inspect = Callable[[Environment, Path, Mapping[str, str]], Iterator[Finding]]
_INSPECT: Mapping[str, Inspect] = {"azure": _inspect_azure}
_HAVE_COMPUTE = frozenset({"azure"})
_DATA: Mapping[str, FetchData] = {"azure": _fetch_from_azure}
_RUNS: Mapping[str, OpenRuns] = {"local": _open_local, "azure": _open_azure}
_DELIVERY: Mapping[str, OpenDelivery] = {"local": _open_local_delivery, "azure": _open_azure_delivery}

Opener = TypeVar("Opener")


def inspect_backend(environment: Environment, state: Path, env: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what a look at an environment's backend finds; asks it, and changes nothing.

    Args:
        environment: names the backend.
        state: the project's `.llmops/` folder.
        env: environment variables.
    """
    inspect = _INSPECT.get(environment.backend)
    yield from inspect(environment, state, env) if inspect else ()


def open_runs(
    environment: Environment,
    state: Path,
    env: Mapping[str, str],
    say: Callable[[str], None],
    use: ModelUse | None = None,
) -> contextlib.AbstractContextManager[Runs]:
    """Open the `Runs` of an environment's backend; leaving the context ends what it started.

    Args:
        state: the project's `.llmops/` folder.
        env: environment variables, for references in connections.
        say: takes a sentence for people.
        use: budget, recordings, faults.

    Raises:
        UsageError: there is no such backend; a recording or faults cannot be read.
    """
    return _pick(_RUNS, environment)(environment, state, env, say, use or ModelUse())


def open_trials(
    environment: Environment, state: Path, env: Mapping[str, str], say: Callable[[str], None]
) -> contextlib.AbstractContextManager[OpenTrial]:
    """Open what tries single inputs with an environment's connections; leaving the context ends what it started.

    Raises:
        UsageError: there is no such backend.
    """
    return _pick(_TRIALS, environment)(environment, state, env, say)


def open_delivery(
    environment: Environment, state: Path, env: Mapping[str, str], say: Callable[[str], None]
) -> contextlib.AbstractContextManager[Delivery]:
    """Open the `Registry` and the `Endpoints` of an environment's backend; what serves goes on after the context.

    Args:
        environment: names the backend.
        state: the project's `.llmops/` folder.
        env: environment variables, for references in connections.
        say: takes a sentence for people.

    Raises:
        UsageError: there is no such backend.
    """
    return _pick(_DELIVERY, environment)(environment, state, env, say)


def has_compute(environment: Environment) -> bool:
    """Tell whether a run of the environment's backend can be given resources of its own."""
    return environment.backend in _HAVE_COMPUTE


def fetch_data(environment: Environment, state: Path, env: Mapping[str, str], address: str) -> Path:
    """Return a local copy of registered data.

    Args:
        address: `azureml:NAME:VERSION`.

    Raises:
        UsageError: the environment's backend knows no registered data, or there is no such data.
    """
    if environment.backend not in _DATA:
        raise UsageError.of(
            f"the backend '{environment.backend}' knows no registered data",
            where=f"environment '{environment.name}'",
            found=f"'{address}'",
            expected="a file, or an environment of the backend azure",
        )
    return _DATA[environment.backend](environment, state, env, address)


def _pick(backends: Mapping[str, Opener], environment: Environment) -> Opener:
    if environment.backend not in backends:
        raise UsageError.of(
            f"no backend '{environment.backend}'",
            where=f"environment '{environment.name}'",
            expected=", ".join(map(repr, backends)),
            fix=near_match(environment.backend, backends),
        )
    return backends[environment.backend]
