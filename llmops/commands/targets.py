"""Where a version goes: the experiment and the environment as the configuration has them, and the endpoint's name."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from llmops.backends.protocols import Clock
from llmops.backends.registry import Delivery, OpenDelivery
from llmops.commands.context import Context
from llmops.config.layers import Options, Selection, layer
from llmops.config.load import find_root, load_project, pick_experiments
from llmops.config.model import Environment, Experiment, Project
from llmops.core.endpoint import NAME_PATTERN
from llmops.delivery.lease import retry
from llmops.errors import UsageError, near_match
from llmops.releases import ModelRecord


class SystemClock:
    """The real time."""

    def now(self) -> float:
        """See `Clock.now`."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        time.sleep(seconds)


@dataclass(frozen=True, kw_only=True)
class Tools:
    """The collaborators of delivery commands.

    Attributes:
        open_delivery: opens an environment's registry and endpoints.
        clock: the time.
    """

    open_delivery: OpenDelivery
    clock: Clock


@dataclass(frozen=True, kw_only=True)
class Target:
    """One experiment in one environment."""

    project: Project
    selection: Selection
    endpoint: str

    @property
    def experiment(self) -> Experiment:
        """As it holds in the environment."""
        return self.selection.experiment

    @property
    def environment(self) -> Environment:
        """Where to."""
        return self.selection.environment


def find_target(context: Context, experiment: str, environment: str | None, *, flags: Options | None = None) -> Target:
    """Read the configuration of one experiment in one environment.

    Args:
        context: of the command.
        experiment: its name.
        environment: its name; None for the experiment's own.
        flags: what else the command line says of the experiment.

    Raises:
        UsageError: there is no such experiment or environment, or the endpoint's name is none.
    """
    project = load_project(find_root(context.folder))
    pick_experiments(project, [experiment])
    if environment is not None and environment not in project.environments:
        known = project.environments
        raise UsageError.of(
            f"no environment '{environment}'",
            expected=", ".join(map(repr, known)),
            fix=near_match(environment, known) or f"Add config/environments/{environment}.yaml.",
        )
    options = replace(flags or Options(), environment=environment)
    return target_of(project, layer(project, experiment, env=context.env, flags=options))


def target_of(project: Project, selection: Selection) -> Target:
    """Name the endpoint of a selection.

    Raises:
        UsageError: the name that the environment gives is none for an endpoint.
    """
    names = {"experiment": selection.experiment.name, "environment": selection.environment.name}
    pattern = selection.environment.endpoint
    filled = re.sub(r"\{(experiment|environment)\}", lambda match: names[match[1]], pattern)
    name = re.sub(r"[^a-z0-9]+", "-", filled.lower()).strip("-")
    if not re.fullmatch(NAME_PATTERN, name):
        raise UsageError.of(
            "not a name for an endpoint",
            where=f"environment '{selection.environment.name}': endpoint",
            found=f"'{name}'",
            expected="3 to 32 characters: letters, digits and single hyphens, with a letter first",
            fix="Set `endpoint` in the environment's file.",
        )
    return Target(project=project, selection=selection, endpoint=name)


def enter_delivery(stack: ExitStack, context: Context, tools: Tools, target: Target) -> Delivery:
    """Open the registry and endpoints of a target until the stack is closed."""
    return stack.enter_context(tools.open_delivery(target.environment, target.project.state, context.env, context.say))


def find_model(delivery: Delivery, clock: Clock, name: str, version: str | None) -> ModelRecord:
    """Return one version of a model, the newest when none is named.

    Raises:
        UsageError: there is no such version.
    """
    versions = [one for one in retry(delivery.registry.list_models, clock) if one.name == name]
    found = next((one for one in versions if version in (None, one.version)), None)
    if found is None:
        known = ", ".join(one.version for one in versions)
        raise UsageError.of(
            f"no version {version} of '{name}'" if version else f"no version of '{name}' is registered",
            expected=f"one of {known}" if known else "",
            fix=f"Run: llmops register {name}",
        )
    return found


def dataset_digests(target: Target) -> Mapping[str, str]:
    """Digest every data set of the experiment as it is now; one that cannot be read is left out."""
    from llmops.config.data import describe

    digests = {}
    for name, dataset in target.experiment.datasets.items():
        try:
            digests[name] = describe(target.project.root / dataset.path, label=dataset.path).digest
        except UsageError:
            continue
    return digests
