"""How fast and how many at once, tried in virtual time against a service that allows so many calls per second."""

from __future__ import annotations

import asyncio
import random

import pytest

from llmops.config.model import Retries
from llmops.engine.gateway.retries import RetryBudget, can_succeed_later, read_retry_after, wait_before
from llmops.engine.gateway.throttle import Throttle
from llmops.engine.standin.server import RateLimit
from llmops.engine.standin.wire import RequestRefused
from tests.engine.gateway.virtual_time import run


class Service:
    """Takes so many calls per second, and this long for each; knows how many it had at once."""

    def __init__(self, calls_per_second: float, latency_s: float) -> None:
        self.clock = asyncio.get_running_loop().time
        self.throttle = Throttle(self.clock)
        self.refusals = 0
        self._rate = RateLimit(calls_per_second, self.clock)
        self._latency_s = latency_s
        self._draw = random.Random(0)

    async def call(self, header: str) -> None:
        for attempt in range(1, 50):
            started, wait = await self.throttle.enter(), 0.0
            try:
                self._rate.take()
                await asyncio.sleep(self._latency_s * self._draw.uniform(0.7, 1.3))
                return self.throttle.answered()
            except RequestRefused as refusal:
                self.refusals += 1
                asked = read_retry_after({header: refusal.headers[header]})
                self.throttle.refused(started, asked or 0.0)
                wait = wait_before(attempt, asked, self._draw)
            finally:
                self.throttle.leave()
            await asyncio.sleep(wait)
        raise AssertionError("never answered")


@pytest.mark.parametrize("header", ["retry-after", "retry-after-ms"])
@pytest.mark.parametrize(
    ("rows", "calls_per_second", "latency_s", "concurrency"),
    [
        (200, 20, 0.2, 16),
        (200, 20, 0.01, 16),
        (200, 40, 0.2, 64),
        (1000, 20, 1.0, 64),
        (500, 100, 0.5, 128),
        (60, 1, 2, 16),
    ],
)
def test_a_run_takes_at_most_a_quarter_longer_than_the_services_limit_allows(
    rows: int, calls_per_second: float, latency_s: float, concurrency: int, header: str
) -> None:
    async def work() -> None:
        service, left = Service(calls_per_second, latency_s), iter(range(rows))

        async def line() -> None:
            for _ in left:
                await service.call(header)
                await service.call(header)

        await asyncio.gather(*(line() for _ in range(concurrency)))
        assert service.throttle.calls_per_second == pytest.approx(calls_per_second, rel=0.35)
        assert service.refusals < rows

    assert run(work()) <= 1.25 * rows * 2 / calls_per_second


def test_a_machine_on_which_every_wait_ends_late_keeps_the_pace_all_the_same() -> None:
    async def work() -> None:
        service, left = Service(50, 0.1), iter(range(1000))

        async def line() -> None:
            for _ in left:
                await service.call("retry-after-ms")

        await asyncio.gather(*(line() for _ in range(64)))

    assert run(work(), late_s=0.03) <= 1.25 * 1000 / 50


def test_nothing_is_held_back_before_the_first_refusal() -> None:
    async def work() -> None:
        throttle = Throttle(asyncio.get_running_loop().time)
        await asyncio.gather(*(throttle.enter() for _ in range(1000)))
        assert (throttle.concurrency, throttle.calls_per_second) == (None, None)

    assert run(work()) == 0


def test_refusals_before_anything_was_taken_are_no_rate_and_stall_nothing() -> None:
    async def work() -> None:
        throttle = Throttle(asyncio.get_running_loop().time)
        for _ in range(8):
            throttle.refused(await throttle.enter())
            throttle.leave()
            await asyncio.sleep(0.1)

        async def call() -> None:
            await throttle.enter()
            await asyncio.sleep(0.1)
            throttle.answered()
            throttle.leave()

        await asyncio.gather(*(call() for _ in range(100)))
        assert throttle.calls_per_second is None

    assert run(work()) < 5


def test_a_long_pause_that_the_service_asks_for_holds_the_other_calls_too() -> None:
    async def work() -> None:
        throttle = Throttle(asyncio.get_running_loop().time)
        throttle.refused(await throttle.enter(), 30.0)
        throttle.leave()
        await throttle.enter()

    assert run(work()) == pytest.approx(30.0)


def test_a_call_that_is_cancelled_while_it_waits_leaves_no_hole() -> None:
    async def work() -> None:
        throttle = Throttle(asyncio.get_running_loop().time)
        throttle.refused(await throttle.enter())
        waiting = [asyncio.ensure_future(throttle.enter()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        throttle.leave()
        await waiting[1]
        throttle.leave()
        await waiting[2]

    run(work())


def test_an_overload_lowers_the_concurrency_once_a_round_and_answers_raise_it() -> None:
    async def work() -> None:
        throttle = Throttle(asyncio.get_running_loop().time)
        started = [await throttle.enter() for _ in range(10)]
        await asyncio.sleep(1)
        for at in started:
            throttle.refused(at, is_rate=False)
        assert (throttle.concurrency, throttle.calls_per_second) == (7, None)
        for _ in range(8):
            throttle.answered()
        assert throttle.concurrency == 9

    run(work())


@pytest.mark.parametrize(
    ("status", "expected"),
    [(400, False), (401, False), (408, True), (422, False), (429, True), (500, True), (501, False), (503, True)],
)
def test_only_what_can_succeed_later_is_tried_again(status: int, expected: bool) -> None:  # noqa: FBT001
    assert can_succeed_later(status) is expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "1", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], expected: float | None) -> None:
    assert read_retry_after(headers) == expected


def test_waits_grow_and_are_drawn_from_their_whole_range() -> None:
    draw = random.Random(1)
    waits = [[wait_before(attempt, None, draw) for _ in range(300)] for attempt in (1, 4, 20)]
    assert [max(some) <= most for some, most in zip(waits, (0.5, 4, 20), strict=True)] == [True] * 3
    assert [max(some) > 0.9 * most for some, most in zip(waits, (0.5, 4, 20), strict=True)] == [True] * 3
    assert all(min(some) < 0.1 * max(some) for some in waits)


def test_a_retry_budget_grows_with_answers() -> None:
    budget = RetryBudget(Retries(per_run=1))
    assert [budget.take(), budget.take()] == [True, False]
    budget.answered()
    budget.answered()
    assert [budget.take(), budget.take()] == [True, False]
