"""The fake backend keeps the contract, and its faults are what they say."""

from __future__ import annotations

import pytest

from llmops.backends.fake import FakeBackend, Fault, Killed
from llmops.errors import BackendError, TransientError
from tests.backends.contract import Contract, Stage


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    folder = tmp_path_factory.mktemp("fake")
    backend = FakeBackend(folder=folder / "registry")
    registry, endpoints = backend.connect()
    return Stage(
        registry=registry, endpoints=endpoints, folder=folder, sleep=backend.clock.sleep, now=backend.clock.now
    )


class TestFake(Contract):
    """The contract, on the fake."""


def test_a_call_that_timed_out_took_effect() -> None:
    backend = FakeBackend()
    with pytest.raises(TransientError):
        backend.connect([Fault(at=0, kind="time-out")])[1].ensure_endpoint("web", tags={})
    assert backend.see("web")


def test_a_call_that_fails_once_took_no_effect_and_works_the_next_time() -> None:
    backend = FakeBackend()
    _, endpoints = backend.connect([Fault(at=0, kind="fail-once")])
    with pytest.raises(TransientError):
        endpoints.ensure_endpoint("web", tags={})
    assert backend.see("web") is None
    endpoints.ensure_endpoint("web", tags={})
    assert backend.see("web")


def test_a_method_that_fails_for_good_fails_for_this_driver_alone() -> None:
    backend = FakeBackend()
    _, endpoints = backend.connect([Fault(at=0, kind="fail-for-good")])
    for _ in range(3):
        with pytest.raises(BackendError):
            endpoints.ensure_endpoint("web", tags={})
    backend.connect()[1].ensure_endpoint("web", tags={})
    assert backend.see("web")


@pytest.mark.parametrize(("kind", "took_effect"), [("die-before", False), ("die-after", True)])
def test_a_driver_that_died_makes_no_call_any_more(kind: str, took_effect: bool) -> None:  # noqa: FBT001 a case
    backend = FakeBackend()
    _, endpoints = backend.connect([Fault(at=0, kind=kind)])  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(Killed):
            endpoints.ensure_endpoint("web", tags={})
    assert (backend.see("web") is not None) == took_effect


def test_a_write_that_lands_later_lands_whatever_happened_in_between() -> None:
    backend = FakeBackend()
    _, endpoints = backend.connect([Fault(at=1, kind="lands-later", seconds=5)])
    endpoints.ensure_endpoint("web", tags={})
    with pytest.raises(TransientError):
        endpoints.update_endpoint("web", tags={"a": "late"})
    endpoints.update_endpoint("web", tags={"a": "in time"})
    backend.clock.sleep(6)
    observed = endpoints.observe("web")
    assert observed
    assert observed.tags == {"a": "late"}
