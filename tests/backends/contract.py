"""What every backend must do. A backend's test file subclasses `Contract` and says what a `Stage` is for it.

class TestFake(Contract):
    @pytest.fixture(scope="class")
    def stage(self, ...) -> Stage: ...
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from llmops.backends.protocols import DeploymentRequest, Endpoints, Registry
from llmops.core.endpoint import Endpoint, Lease
from llmops.delivery.package import sha256_of, verify_package
from llmops.errors import LeaseHeldError, LeaseLostError, UsageError
from llmops.releases import EvidenceRef, ModelRecord
from tests.backends.packages import echo_flow, package

DEADLINE_S = 120
LEASE_S = 600.0
BRIEF_S = 1.0
SERVED = "contract-served"


@dataclass
class Stage:
    """One backend to try.

    Attributes:
        folder: for flows and packages.
        sleep: lets time pass for the backend; now: its time.
        first, second: what serves on `SERVED`, at 100 and 0 %.
    """

    registry: Registry
    endpoints: Endpoints
    folder: Path
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _is_served: bool = False

    def name(self) -> str:
        """Return a name that nobody used."""
        return f"contract-{next(self._numbers)}"

    def build(self, model: str, version: str) -> tuple[Path, str]:
        """Package a flow that answers with its version and the question; returns folder and digest."""
        number = next(self._numbers)
        into = self.folder / f"package-{number}"
        flow = echo_flow(self.folder / f"flow-{number}", version)
        return into, package(flow, into, model=model).digest

    def register(self, model: str, version: str) -> ModelRecord:
        folder, digest = self.build(model, version)
        return self.registry.register(folder, name=model, digest=digest, created_by="a test")

    def endpoint(self) -> str:
        """Make an endpoint without deployments."""
        name = self.name()
        self.endpoints.ensure_endpoint(name, tags={"made": "first"})
        return name

    def deploy(self, endpoint: str, name: str, model: ModelRecord) -> None:
        request = DeploymentRequest(name=name, model=model, package=self.registry.fetch(model), tags={"by": "a test"})
        self.endpoints.create_deployment(endpoint, request)

    def seen(self, endpoint: str) -> Endpoint:
        observed = self.endpoints.observe(endpoint)
        assert observed is not None
        return observed

    def wait_until_healthy(self, endpoint: str, deployment: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while self.seen(endpoint).deployments[deployment].status != "healthy":
            assert time.monotonic() < deadline, self.seen(endpoint).deployments[deployment]
            self.sleep(0.2)

    def served(self) -> str:
        """Return an endpoint with two healthy deployments, of which the first has all traffic; made once."""
        if not self._is_served:
            self.endpoints.ensure_endpoint(SERVED, tags={})
            for name in ("first", "second"):
                self.deploy(SERVED, name, self.register("served", f"{name} "))
            for name in ("first", "second"):
                self.wait_until_healthy(SERVED, name)
            self._is_served = True
        self.endpoints.update_endpoint(SERVED, traffic={"first": 100}, mirror={})
        return SERVED

    def lease(self, endpoint: str, token: str, duration_s: float = LEASE_S) -> Lease:
        return self.endpoints.acquire_lease(
            endpoint, token=token, owner=f"owner of {token}", link="https://ci/run/1", duration_s=duration_s
        )


class RegistryContract:
    """What `Registry` promises."""

    def test_versions_of_a_name_are_counted_from_1(self, stage: Stage) -> None:
        name = stage.name()
        assert [stage.register(name, text).version for text in ("a", "b", "c")] == ["1", "2", "3"]

    def test_the_same_content_is_the_same_version(self, stage: Stage) -> None:
        name = stage.name()
        first = stage.register(name, "a")
        assert stage.register(name, "a") == first
        assert [one.version for one in stage.registry.list_models() if one.name == name] == ["1"]

    def test_of_racing_registrations_of_one_content_one_makes_a_version(self, stage: Stage) -> None:
        name = stage.name()
        folder, digest = stage.build(name, "raced")
        with ThreadPoolExecutor(4) as pool:
            registered = [
                pool.submit(stage.registry.register, folder, name=name, digest=digest, created_by="racer")
                for _ in range(4)
            ]
            assert {future.result().version for future in registered} == {"1"}

    def test_a_version_is_found_by_number_and_by_content(self, stage: Stage) -> None:
        model = stage.register(stage.name(), "a")
        assert stage.registry.find(model.name, "1") == model
        assert stage.registry.find_digest(model.name, model.digest) == model

    def test_what_was_never_registered_is_not_found(self, stage: Stage) -> None:
        name = stage.name()
        assert stage.registry.find(name, "1") is None
        assert stage.registry.find_digest(name, "sha256:" + "0" * 64) is None

    def test_versions_are_listed_newest_first_beyond_nine(self, stage: Stage) -> None:
        name = stage.name()
        for number in range(11):
            stage.register(name, str(number))
        listed = [one.version for one in stage.registry.list_models() if one.name == name]
        assert listed == [str(number) for number in range(11, 0, -1)]

    def test_the_bytes_that_come_back_are_those_that_went_in(self, stage: Stage) -> None:
        model = stage.register(stage.name(), "a")
        found = verify_package(stage.registry.fetch(model), model)
        assert found.manifest.digest == model.digest

    def test_a_package_that_changes_after_its_registration_changes_nothing(self, stage: Stage) -> None:
        name = stage.name()
        folder, digest = stage.build(name, "a")
        model = stage.registry.register(folder, name=name, digest=digest, created_by="a test")
        (folder / "manifest.json").write_text("{}", encoding="utf-8")
        verify_package(stage.registry.fetch(model), model)

    def test_the_same_evidence_twice_is_one_document(self, stage: Stage) -> None:
        model = stage.register(stage.name(), "a")
        evidence = EvidenceRef(kind="verdict", id="v", digest=sha256_of(b"content"))
        once = stage.registry.add_evidence(model, evidence, b"content")
        twice = stage.registry.add_evidence(once, evidence, b"content")
        assert twice.evidence == (evidence,)
        assert stage.registry.find(model.name, "1") == twice
        assert stage.registry.read_evidence(twice, evidence) == b"content"

    def test_evidence_that_is_gone_is_an_error(self, stage: Stage) -> None:
        model = stage.register(stage.name(), "a")
        with pytest.raises(UsageError):
            stage.registry.read_evidence(model, EvidenceRef(kind="verdict", id="v", digest=sha256_of(b"never")))


class LeaseContract:
    """What `Endpoints` promises of leases."""

    def test_a_lease_needs_no_endpoint_and_tells_others_who_holds_it(self, stage: Stage) -> None:
        name = stage.name()
        stage.lease(name, "a")
        with pytest.raises(LeaseHeldError) as told:
            stage.lease(name, "b")
        assert "owner of a" in str(told.value)
        assert "https://ci/run/1" in str(told.value)

    def test_of_many_who_ask_at_once_one_gets_the_lease(self, stage: Stage) -> None:
        name = stage.name()

        def ask(token: str) -> bool:
            try:
                stage.lease(name, token)
            except LeaseHeldError:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(ask, "abcdefgh")) == 1

    def test_asking_again_with_the_same_token_extends_it(self, stage: Stage) -> None:
        name = stage.name()
        first = stage.lease(name, "a", BRIEF_S)
        assert stage.lease(name, "a", LEASE_S).expires_at > first.expires_at

    def test_an_expired_lease_can_be_taken_and_is_lost_for_its_old_holder(self, stage: Stage) -> None:
        name = stage.name()
        old = stage.lease(name, "a", BRIEF_S)
        stage.sleep(BRIEF_S + 0.2)
        assert stage.endpoints.read_lease(name) is None
        new = stage.lease(name, "b")
        with pytest.raises(LeaseLostError):
            stage.endpoints.renew_lease(old, duration_s=LEASE_S)
        assert stage.endpoints.renew_lease(new, duration_s=LEASE_S).token == new.token

    def test_an_expired_lease_that_nobody_took_can_be_renewed(self, stage: Stage) -> None:
        name = stage.name()
        lease = stage.lease(name, "a", BRIEF_S)
        stage.sleep(BRIEF_S + 0.2)
        stage.endpoints.renew_lease(lease, duration_s=LEASE_S)
        with pytest.raises(LeaseHeldError):
            stage.lease(name, "b")

    def test_only_its_holder_gives_a_lease_back(self, stage: Stage) -> None:
        name = stage.name()
        old = stage.lease(name, "a", BRIEF_S)
        stage.sleep(BRIEF_S + 0.2)
        new = stage.lease(name, "b")
        stage.endpoints.release_lease(old)
        held = stage.endpoints.read_lease(name)
        assert held
        assert held.token == new.token
        stage.endpoints.release_lease(new)
        assert stage.endpoints.read_lease(name) is None

    def test_a_lease_that_was_given_back_cannot_be_renewed(self, stage: Stage) -> None:
        lease = stage.lease(stage.name(), "a")
        stage.endpoints.release_lease(lease)
        with pytest.raises(LeaseLostError):
            stage.endpoints.renew_lease(lease, duration_s=LEASE_S)


class EndpointsContract:
    """What `Endpoints` promises of endpoints, deployments and traffic."""

    def test_an_endpoint_that_does_not_exist_is_observed_as_none(self, stage: Stage) -> None:
        assert stage.endpoints.observe(stage.name()) is None

    def test_a_new_endpoint_has_no_traffic_and_is_listed(self, stage: Stage) -> None:
        name = stage.endpoint()
        assert stage.seen(name) == Endpoint(name=name, tags={"made": "first"})
        assert name in stage.endpoints.list_endpoints()

    def test_an_endpoint_that_exists_is_left_as_it_is(self, stage: Stage) -> None:
        name = stage.endpoint()
        stage.endpoints.ensure_endpoint(name, tags={"made": "again", "other": "tag"})
        assert stage.seen(name).tags == {"made": "first"}

    @pytest.mark.parametrize("name", ["", "A", "with space", "x" * 33, "-a", "a--b", "../up"])
    def test_names_that_no_backend_accepts_are_refused(self, stage: Stage, name: str) -> None:
        with pytest.raises(UsageError):
            stage.endpoints.ensure_endpoint(name, tags={})

    def test_tags_are_merged_and_none_removes_them(self, stage: Stage) -> None:
        name = stage.endpoint()
        stage.endpoints.update_endpoint(name, tags={"a": "1", "b": "2"})
        stage.endpoints.update_endpoint(name, tags={"a": None, "c": "3", "absent": None})
        assert stage.seen(name).tags == {"made": "first", "b": "2", "c": "3"}

    @pytest.mark.parametrize("traffic", [{"first": 99}, {"first": 101}, {"first": 50, "second": 49}, {"gone": 100}])
    def test_a_split_that_is_none_is_refused_and_nothing_of_the_update_happens(
        self, stage: Stage, traffic: dict[str, int]
    ) -> None:
        name = stage.served()
        before = stage.seen(name)
        with pytest.raises(UsageError):
            stage.endpoints.update_endpoint(name, traffic=traffic, tags={"must": "not stay"})
        assert stage.seen(name) == before

    def test_traffic_mirror_and_tags_change_together(self, stage: Stage) -> None:
        name = stage.served()
        stage.endpoints.update_endpoint(name, traffic={"second": 100}, mirror={"first": 20}, tags={"step": "1"})
        seen = stage.seen(name)
        assert (seen.traffic, seen.mirror, seen.tags["step"]) == ({"second": 100}, {"first": 20}, "1")

    def test_what_is_not_given_stays(self, stage: Stage) -> None:
        name = stage.served()
        stage.endpoints.update_endpoint(name, mirror={"second": 10})
        stage.endpoints.update_endpoint(name, tags={"step": "2"})
        assert (stage.seen(name).traffic, stage.seen(name).mirror) == ({"first": 100}, {"second": 10})

    def test_shares_of_0_are_left_out(self, stage: Stage) -> None:
        name = stage.served()
        stage.endpoints.update_endpoint(name, traffic={"first": 100, "second": 0})
        assert stage.seen(name).traffic == {"first": 100}

    def test_a_deployment_says_what_it_serves(self, stage: Stage) -> None:
        seen = stage.seen(stage.served()).deployments["first"]
        model = next(one for one in stage.registry.list_models() if one.name == "served" and one.version == "1")
        assert (seen.model, seen.version, seen.digest, seen.status) == ("served", "1", model.digest, "healthy")
        assert seen.tags["by"] == "a test"

    def test_creating_a_deployment_again_leaves_it_as_it_is(self, stage: Stage) -> None:
        name = stage.served()
        before = stage.seen(name)
        model = stage.registry.find("served", "1")
        assert model
        stage.deploy(name, "first", model)
        assert stage.seen(name) == before

    def test_a_name_that_serves_other_content_is_refused(self, stage: Stage) -> None:
        name = stage.served()
        model = stage.registry.find("served", "2")
        assert model
        with pytest.raises(UsageError):
            stage.deploy(name, "first", model)

    def test_tags_of_a_deployment_are_merged_and_none_removes_them(self, stage: Stage) -> None:
        name = stage.served()
        stage.endpoints.tag_deployment(name, "second", {"x": "1", "y": "2"})
        stage.endpoints.tag_deployment(name, "second", {"x": None})
        tags = stage.seen(name).deployments["second"].tags
        assert ("x" in tags, tags["y"]) == (False, "2")

    def test_a_deployment_that_does_not_exist_cannot_be_tagged(self, stage: Stage) -> None:
        with pytest.raises(UsageError):
            stage.endpoints.tag_deployment(stage.served(), "gone", {"x": "1"})

    def test_a_deployment_with_traffic_or_a_mirror_cannot_be_deleted(self, stage: Stage) -> None:
        name = stage.served()
        stage.endpoints.update_endpoint(name, mirror={"second": 10})
        for deployment in ("first", "second"):
            with pytest.raises(UsageError):
                stage.endpoints.delete_deployment(name, deployment)
        assert set(stage.seen(name).deployments) == {"first", "second"}

    def test_a_deployment_that_is_gone_is_deleted_already(self, stage: Stage) -> None:
        stage.endpoints.delete_deployment(stage.served(), "gone")

    def test_a_deployment_without_traffic_can_be_deleted_while_it_starts(self, stage: Stage) -> None:
        name = stage.endpoint()
        stage.deploy(name, "young", stage.register(stage.name(), "young "))
        stage.endpoints.delete_deployment(name, "young")
        assert stage.seen(name).deployments == {}

    def test_a_request_goes_where_it_is_addressed_past_the_split(self, stage: Stage) -> None:
        name = stage.served()
        answer = stage.endpoints.score(name, {"question": "q"}, deployment="second")
        assert (answer.status, answer.deployment) == (200, "second")
        assert answer.outputs is not None

    def test_a_request_without_address_follows_the_split(self, stage: Stage) -> None:
        name = stage.served()
        stage.endpoints.update_endpoint(name, traffic={"second": 100})
        assert {stage.endpoints.score(name, {"question": "q"}).deployment for _ in range(5)} == {"second"}

    def test_an_unknown_deployment_is_an_answer_and_no_exception(self, stage: Stage) -> None:
        answer = stage.endpoints.score(stage.served(), {"question": "q"}, deployment="gone")
        assert answer.status >= 400
        assert answer.outputs is None or answer.status != 200

    def test_a_span_without_requests_measures_none(self, stage: Stage) -> None:
        name = stage.served()
        windows = stage.endpoints.measure(name, start=stage.now() - 2e6, end=stage.now() - 1e6)
        assert all(window.requests == 0 and not window.latency_s for window in windows.values())

    def test_without_consent_no_live_request_is_kept(self, stage: Stage) -> None:
        endpoint, start = stage.served(), stage.now()
        stage.endpoints.score(endpoint, {"question": "private"})
        assert not any(stage.endpoints.read_captured(endpoint, start=start, end=start + 60, limit=9).values())

    def test_logs_are_text(self, stage: Stage) -> None:
        assert isinstance(stage.endpoints.read_logs(stage.served(), "first"), str)


class Contract(RegistryContract, LeaseContract, EndpointsContract):
    """Everything that a backend promises."""
