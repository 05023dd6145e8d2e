from __future__ import annotations

from pathlib import Path

from llmops.backends.local.serving.request_log import LoggedRequest, RequestKind, append, measure, tail
from llmops.core.endpoint import Window


def logged(at: float, *, status: int = 200, duration_s: float = 0.1, kind: RequestKind = "live") -> LoggedRequest:
    return LoggedRequest(at, f"r{at}", "first", kind, status, duration_s)


def window(path: Path, start: float, end: float, *came: float) -> Window:
    """Measure at moment 100; `came` are requests without an answer."""
    return measure(path, start=start, end=end, pending={"first": came}, now=100)["first"]


def test_a_window_holds_live_requests_and_copies_that_came_between_two_moments(tmp_path: Path) -> None:
    path = tmp_path / "requests.sqlite"
    append(
        path,
        [logged(2), logged(2.15), logged(2.5, kind="mirror"), logged(2.6, kind="addressed"), logged(3.05), logged(3.2)],
    )
    assert window(path, 2, 3).requests == 3
    assert [one.ended_at for one in tail(path, count=2)] == [3.05, 3.2]


def test_a_request_that_waits_adds_to_latency_and_never_makes_it_shorter(tmp_path: Path) -> None:
    path = tmp_path / "requests.sqlite"
    append(path, [logged(50 + number, duration_s=2) for number in range(10)])
    assert window(path, 0, 100, 60, 99.5).latency_s == {50: 2, 95: 40, 99: 40}
    assert window(path, 0, 100, *[99.9] * 90).latency_s == {50: 2, 95: 2, 99: 2}
    assert window(path, 0, 100, 60, 99.5).waiting_s == [0.5, 40]


def test_only_requests_that_came_in_the_window_wait_in_it(tmp_path: Path) -> None:
    found = measure(tmp_path / "none.sqlite", start=10, end=20, pending={"first": [5, 15, 20]}, now=25)
    assert found == {"first": Window(waiting_s=[10], latency_s={50: 10, 95: 10, 99: 10})}


def test_server_errors_and_requests_given_up_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "requests.sqlite"
    append(path, [logged(1, status=status) for status in (200, 400, 429, 500, 504, 0)])
    assert window(path, 0, 9).errors == 3


def test_a_flow_that_failed_is_an_error_whatever_the_status(tmp_path: Path) -> None:
    path = tmp_path / "requests.sqlite"
    append(path, [logged(1, status=400), logged(1, status=400)._replace(flow_failed=True)])
    assert window(path, 0, 9).errors == 1


def test_percentiles_are_nearest_rank(tmp_path: Path) -> None:
    path = tmp_path / "requests.sqlite"
    append(path, [logged(30, duration_s=number / 10) for number in range(200, 0, -1)])
    assert window(path, 0, 99) == Window(requests=200, errors=0, latency_s={50: 10.0, 95: 19.0, 99: 19.8}, waiting_s=[])


def test_there_is_nothing_to_measure_before_the_first_request(tmp_path: Path) -> None:
    assert measure(tmp_path / "none.sqlite", start=0, end=9, pending={}, now=9) == {}
