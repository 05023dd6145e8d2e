"""The steps of a rollout as frozen values: what each does in words, and what the endpoint looks like after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from llmops.core.endpoint import Deployment, Endpoint
from llmops.core.rollout_state import (
    EVALUATED,
    EXPERIMENT,
    FAILED,
    FAILED_AT,
    PROBED,
    RETIRED,
    ROLLED_BACK,
    ROLLOUT_FAILED,
    VERSION,
    Failure,
    Place,
    Underway,
    begin_tags,
    short,
)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step; `str()` says in words what it does."""

    def notes(self) -> Mapping[str, str | None]:
        """Return the tags that it writes on the endpoint; None removes one."""
        return {}

    def after(self, endpoint: Endpoint, now: float) -> Endpoint:
        """Say what the endpoint looks like after this step went well.

        Args:
            endpoint: before it.
            now: seconds since the epoch.
        """
        del now
        return replace(endpoint, tags=merge_tags(endpoint.tags, self.notes()))


@dataclass(frozen=True, kw_only=True)
class DeploymentStep(Step):
    """A step that is about one deployment; it changes nothing when that is gone."""

    deployment: str

    def marks(self, now: float) -> Mapping[str, str]:
        """Return the tags that it writes on the deployment, at a moment in seconds since the epoch."""
        del now
        return {}

    def after(self, endpoint: Endpoint, now: float) -> Endpoint:
        """See `Step.after`."""
        found = endpoint.deployments.get(self.deployment)
        if found is None:
            return endpoint
        changed = replace(found, tags={**found.tags, **self.marks(now)})
        return replace(endpoint, deployments={**endpoint.deployments, found.name: changed})


@dataclass(frozen=True, kw_only=True)
class EnsureEndpoint(Step):
    """Create the endpoint unless it exists."""

    experiment: str

    def __str__(self) -> str:
        return "create the endpoint"

    def notes(self) -> Mapping[str, str | None]:
        """See `Step.notes`."""
        return {EXPERIMENT: self.experiment}


@dataclass(frozen=True, kw_only=True)
class Begin(Step):
    """Write down which rollout begins, and the split to return to."""

    underway: Underway

    def __str__(self) -> str:
        back = say_split(self.underway.before)
        return f"begin {self.underway.action} of version {self.underway.version}; a failed check returns to {back}"

    def notes(self) -> Mapping[str, str | None]:
        """See `Step.notes`."""
        return {**begin_tags(self.underway), ROLLED_BACK: None}


@dataclass(frozen=True, kw_only=True)
class Create(DeploymentStep):
    """Create the deployment at 0 %."""

    version: str
    digest: str

    def __str__(self) -> str:
        return f"create deployment {self.deployment} with version {self.version} at 0 %"

    def after(self, endpoint: Endpoint, now: float) -> Endpoint:
        """See `Step.after`."""
        del now
        made = Deployment(
            name=self.deployment,
            model="",
            version=self.version,
            digest=self.digest,
            status="creating",
            tags={VERSION: self.version},
        )
        return replace(endpoint, deployments={**endpoint.deployments, self.deployment: made})


@dataclass(frozen=True, kw_only=True)
class AwaitHealthy(DeploymentStep):
    """Wait until the deployment answers."""

    timeout_s: float

    def __str__(self) -> str:
        return f"wait until {self.deployment} is healthy, at most {self.timeout_s:g} s"

    def after(self, endpoint: Endpoint, now: float) -> Endpoint:
        """See `Step.after`."""
        del now
        healthy = replace(endpoint.deployments[self.deployment], status="healthy", message="")
        return replace(endpoint, deployments={**endpoint.deployments, self.deployment: healthy})


@dataclass(frozen=True, kw_only=True)
class Probe(DeploymentStep):
    """Send sample requests to the deployment and look at its outputs; `digest` is what it must serve."""

    rows: int
    digest: str

    def __str__(self) -> str:
        return f"probe {self.deployment} with {self.rows} rows and look at its outputs"

    def marks(self, now: float) -> Mapping[str, str]:
        """See `DeploymentStep.marks`."""
        del now
        return {PROBED: self.digest}


@dataclass(frozen=True, kw_only=True)
class Evaluate(DeploymentStep):
    """Score the deployment's own answers by the experiment's evaluators and gate; `digest` is what it must serve."""

    dataset: str
    digest: str

    def __str__(self) -> str:
        data = f" over '{self.dataset}'" if self.dataset else ""
        return f"evaluate {self.deployment}{data} through its own address and gate it"

    def marks(self, now: float) -> Mapping[str, str]:
        """See `DeploymentStep.marks`."""
        del now
        return {EVALUATED: self.digest}


@dataclass(frozen=True, kw_only=True)
class Mirror(DeploymentStep):
    """Copy live requests to the deployment and watch it."""

    percent: int
    seconds: float

    def __str__(self) -> str:
        return f"mirror {self.percent} % of the requests to {self.deployment} for {self.seconds:g} s and check it"

    def after(self, endpoint: Endpoint, now: float) -> Endpoint:
        """See `Step.after`."""
        del now
        return replace(endpoint, mirror={self.deployment: self.percent})


@dataclass(frozen=True, kw_only=True)
class Shift(DeploymentStep):
    """Set the traffic; mirroring ends."""

    traffic: Mapping[str, int]

    def __str__(self) -> str:
        return f"set the traffic to {say_split(self.traffic)}"

    def after(self, endpoint: Endpoint, now: float) -> Endpoint:
        """See `Step.after`."""
        del now
        return replace(endpoint, traffic=dict(self.traffic), mirror={})


@dataclass(frozen=True, kw_only=True)
class Bake(DeploymentStep):
    """Watch the deployment under live traffic."""

    percent: int
    seconds: float

    def __str__(self) -> str:
        return f"watch {self.deployment} at {self.percent} % for {self.seconds:g} s and check it"


@dataclass(frozen=True, kw_only=True)
class Retire(DeploymentStep):
    """Start the time for which the previous deployment is kept."""

    def __str__(self) -> str:
        return f"keep {self.deployment} for the rollback window"

    def marks(self, now: float) -> Mapping[str, str]:
        """See `DeploymentStep.marks`."""
        return {RETIRED: str(int(now))}


@dataclass(frozen=True, kw_only=True)
class Finish(Step):
    """Write down what serves now and what to return to; the rollout is over."""

    tags: Mapping[str, str | None]
    current: Place

    def __str__(self) -> str:
        return f"record {self.current.deployment} as what serves"

    def notes(self) -> Mapping[str, str | None]:
        """See `Step.notes`."""
        return self.tags


@dataclass(frozen=True, kw_only=True)
class Return(Step):
    """Give the traffic back to what served before, and write down why."""

    rollout: str
    traffic: Mapping[str, int]
    failure: Failure

    def __str__(self) -> str:
        return f"return the traffic to {say_split(self.traffic)}: {self.failure.reason}"

    def notes(self) -> Mapping[str, str | None]:
        """See `Step.notes`; the note names the rollout, so that it never speaks of another one."""
        return {ROLLOUT_FAILED: short(f"{self.rollout} {self.failure}")}

    def after(self, endpoint: Endpoint, now: float) -> Endpoint:
        """See `Step.after`."""
        return replace(Step.after(self, endpoint, now), traffic=dict(self.traffic), mirror={})


@dataclass(frozen=True, kw_only=True)
class MarkFailed(DeploymentStep):
    """Write on a deployment why it was turned back; it stays for diagnosis."""

    failure: Failure

    def __str__(self) -> str:
        return f"keep {self.deployment} at 0 % for diagnosis: {self.failure.reason}"

    def marks(self, now: float) -> Mapping[str, str]:
        """See `DeploymentStep.marks`."""
        return {FAILED: str(self.failure), FAILED_AT: str(int(now))}


@dataclass(frozen=True, kw_only=True)
class Delete(DeploymentStep):
    """Remove a deployment that has no traffic."""

    reason: str

    def __str__(self) -> str:
        return f"delete {self.deployment}: {self.reason}"

    def after(self, endpoint: Endpoint, now: float) -> Endpoint:
        """See `Step.after`."""
        del now
        kept = {name: one for name, one in endpoint.deployments.items() if name != self.deployment}
        return replace(endpoint, deployments=kept)


@dataclass(frozen=True, kw_only=True)
class EndRollout(Step):
    """Remove the traces of a rollout that did not reach its end."""

    tags: Mapping[str, str | None]

    def __str__(self) -> str:
        return "end the rollout"

    def notes(self) -> Mapping[str, str | None]:
        """See `Step.notes`."""
        return self.tags


def merge_tags(tags: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """Merge tags; a value of None removes the tag."""
    merged = {**tags, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def say_split(split: Mapping[str, int]) -> str:
    """Write a split for people."""
    return ", ".join(f"{name} {percent} %" for name, percent in sorted(split.items())) or "nothing"
